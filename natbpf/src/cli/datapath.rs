//! Options of the datapath: what `[datapath]` is in a file.

use std::time::Duration;

use clap::Args;

use crate::config::{AttachMode, DatapathConfig, HookMode, Switch, values};

#[derive(Clone, Debug, Default, Args)]
pub struct DatapathArgs {
    /// Leave the programs in place when the daemon ends, so that traffic goes on
    #[arg(long)]
    pub stay: bool,

    /// How to attach to the uplink
    #[arg(long, value_enum, value_name = "HOW")]
    pub attach: Option<AttachMode>,

    /// Where packets of running flows are taken from port to port [default: auto]
    #[arg(long, value_enum, value_name = "HOOK")]
    pub hook: Option<HookMode>,

    /// Stay beside TC programs of somebody else; without it they are a reason not to start
    #[arg(long)]
    pub coexist: bool,

    /// Whether packets of running flows go straight from port to port, as the kernel has sent those before
    /// [default: on; with --coexist off]
    #[arg(long, value_enum, value_name = "ON|OFF")]
    pub offload: Option<Switch>,

    /// With offload: how often a flow asks the kernel again, 1s to 10m [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = values::revalidate)]
    pub revalidate: Option<Duration>,

    /// Leave net.netfilter.nf_conntrack_tcp_be_liberal as it is, and offload nothing where it is 0
    #[arg(long)]
    pub no_conntrack_liberal: bool,
}

impl DatapathConfig {
    /// Lets what was said on the command line win over the file.
    pub fn apply(&mut self, arguments: &DatapathArgs) {
        let DatapathArgs { stay: _, attach, hook, coexist, offload, revalidate, no_conntrack_liberal } =
            *arguments;
        self.attach = attach.unwrap_or(self.attach);
        self.hook = hook.unwrap_or(self.hook);
        self.coexist |= coexist;
        self.offload = offload.or(self.offload);
        self.revalidate = revalidate.unwrap_or(self.revalidate);
        self.conntrack_liberal &= !no_conntrack_liberal;
    }
}
