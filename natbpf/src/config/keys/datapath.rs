//! `[datapath]` with its options, and `[[interface]]`

use std::time::Duration;

use clap::{ArgAction, Args};

use super::{
    said::{Flag, Said, Wrong, flag},
    section::section,
};
use crate::config::{AttachMode, DatapathConfig, HookMode, Problem, Switch};

section! {
    "[[interface]]" "what holds for one interface alone"
    pub struct InterfaceKeys {
        name: Said<String> = r#""eth0""# "";
        hook: HookMode = r#""xdp""# "";
    }
}

section! {
    #[derive(Args, Default)]
    "[datapath]" ""
    pub struct DatapathKeys {
        // The table stays with a file, so that only `natbpf masquerade` has an option.
        #[arg(skip)]
        max_flows: Option<u32> = "262144" "";

        /// How to attach to the uplink
        #[arg(long, value_enum, value_name = "HOW")]
        attach: Option<AttachMode> = r#""auto""# r#"or "tcx", "clsact""#;

        /// Where packets of running flows are taken from port to port [default: auto]
        #[arg(long, value_enum, value_name = "HOOK")]
        hook: Option<HookMode> = r#""auto""# r#"of offload: or "tc", "xdp""#;

        /// Stay beside TC programs of somebody else; without it they are a reason not to start
        #[arg(long, action = ArgAction::SetTrue, value_parser = flag(true))]
        coexist: Flag = "false" "stay beside TC programs of somebody else";

        /// Whether packets of running flows go straight from port to port, as the kernel has sent those before
        /// [default: on; with --coexist off]
        #[arg(long, value_enum, value_name = "ON|OFF")]
        offload: Option<Switch> = r#""on""# r#"or "off": every packet takes its way through the kernel"#;

        /// With offload: repeat also packets that rules of the host have to see every one of, such as limits, quotas
        /// and helpers; they see few then
        #[arg(long, action = ArgAction::SetTrue, value_parser = flag(true))]
        anyway: Flag = "false" "offload also what rules have to see every packet of";

        /// With offload: how often a flow asks the kernel again, 1s to 10m [default: 10s]
        #[arg(long, value_name = "DURATION")]
        revalidate: Option<Said<Duration>> = r#""10s""# "how often an offloaded flow asks the kernel again";

        /// Leave net.netfilter.nf_conntrack_tcp_be_liberal as it is, and offload nothing where it is 0
        #[arg(long = "no-conntrack-liberal", action = ArgAction::SetTrue, value_parser = flag(false))]
        conntrack_liberal: Flag = "true" "set nf_conntrack_tcp_be_liberal, which offload needs beside conntrack";
    }
}

impl DatapathConfig {
    /// What is said wins.
    pub fn with(self, keys: &DatapathKeys) -> Result<Self, Wrong> {
        let max_flows = keys.max_flows.unwrap_or(self.max_flows);
        if !(Self::MIN_FLOWS..=Self::MAX_FLOWS).contains(&max_flows) {
            return Err(Wrong::at("max_flows")(Problem::MaxFlows(max_flows)));
        }
        let revalidate = keys.revalidate.as_ref().map(|said| said.of("revalidate")).transpose()?;
        Ok(Self {
            max_flows,
            attach: keys.attach.unwrap_or(self.attach),
            hook: keys.hook.unwrap_or(self.hook),
            coexist: keys.coexist.unwrap_or(self.coexist),
            offload: keys.offload.or(self.offload),
            anyway: keys.anyway.unwrap_or(self.anyway),
            revalidate: revalidate.unwrap_or(self.revalidate),
            conntrack_liberal: keys.conntrack_liberal.unwrap_or(self.conntrack_liberal),
        })
    }
}
