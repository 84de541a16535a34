//! What the operator wants, checked: from a file or from the arguments of `natbpf masquerade`.

use std::{collections::BTreeMap, path::Path, time::Duration};

use ipnet::Ipv4Net;
use natbpf_common::flow::timeouts::Timeouts;

use crate::cli::{DatapathArgs, MasqueradeArgs};

mod arguments;
mod behaviour;
mod check;
mod file;
mod forward;
mod interfaces;
mod networks;
mod pool;
#[cfg(test)]
mod tests;
mod timeouts;
pub mod values;

pub use behaviour::{Behaviour, Choices, Quota};
pub use check::Problem;
pub use file::ConfigError;
pub use forward::{Floating, Pair, PortForward, Redirection, Target};
pub use interfaces::Interfaces;
pub use networks::{NetworkMatch, Networks};
pub use pool::{AddressPool, AddressRange};
pub use values::{AttachMode, Filtering, HookMode, Mapping, Ports, Profile, Protocol, Switch, Unsolicited};

/// A whole configuration. Interfaces may still be missing: `plan` finds out.
#[derive(Clone, Debug)]
pub struct Config {
    /// The first one that matches a new flow decides.
    pub rules: Vec<MasqueradeRule>,
    /// No two of them overlap.
    pub forwards: Vec<PortForward>,
    /// No address and no host twice on an uplink.
    pub floating: Vec<Floating>,
    /// Of single interfaces, by name; none twice.
    pub interfaces: BTreeMap<String, HookMode>,
    pub datapath: DatapathConfig,
    pub timeouts: Timeouts,
}

/// One `[[masquerade]]`, or the arguments of `natbpf masquerade`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasqueradeRule {
    /// The uplinks.
    pub out: Interfaces,
    pub sources: Networks,
    pub destinations: Networks,
    pub action: Action,
}

/// What becomes of what a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Masquerade(Translation),
    /// It is left alone.
    Exempt,
}

/// How a rule translates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// Destinations left alone.
    pub except: Vec<Ipv4Net>,
    pub behaviour: Behaviour,
    /// With hairpin: the interfaces where inside hosts are; empty: to be found by address and route.
    pub inside: Vec<String>,
    /// The inside ports whose traffic is offloaded; empty: to be found by address and route.
    pub ports: Vec<Interfaces>,
    /// `None`: the uplink's address.
    pub pool: Option<AddressPool>,
    /// External TCP and UDP ports; `None`: those of the source port's class.
    pub to_ports: Option<Ports>,
    /// A random external port for every mapping.
    pub random: bool,
    /// How many flows a source may begin in a second; 0: no limit.
    pub new_flows_per_second: u32,
}

impl Translation {
    /// More than a processor can begin.
    pub const MAX_RATE: u32 = 1_000_000;
}

/// `[datapath]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatapathConfig {
    /// Flows the table holds, [`DatapathConfig::MIN_FLOWS`] to [`DatapathConfig::MAX_FLOWS`].
    pub max_flows: u32,
    pub attach: AttachMode,
    /// Of every interface that has none of its own ([`Config::interfaces`]).
    pub hook: HookMode,
    /// Stay beside TC programs of somebody else instead of refusing to attach.
    pub coexist: bool,
    /// `None`: on, but not beside programs of somebody else ([`DatapathConfig::coexist`]), which are to see every packet.
    pub offload: Option<Switch>,
    /// How long the datapath repeats what the kernel did before it asks again, [`DatapathConfig::MIN_REVALIDATE`] to
    /// [`DatapathConfig::MAX_REVALIDATE`].
    pub revalidate: Duration,
    /// Set `net.netfilter.nf_conntrack_tcp_be_liberal` if offload needs it.
    pub conntrack_liberal: bool,
}

impl DatapathConfig {
    /// So small only for tests of a full table.
    pub const MIN_FLOWS: u32 = 16;
    /// The table is allocated whole at the start, a few gigabytes at this size.
    pub const MAX_FLOWS: u32 = 1 << 24;
    /// Shorter, and most packets of a slow flow ask the kernel.
    pub const MIN_REVALIDATE: Duration = Duration::from_secs(1);
    /// Longer, and what no netlink message tells of is noticed too late.
    pub const MAX_REVALIDATE: Duration = Duration::from_secs(600);

    pub fn wants_offload(&self) -> bool {
        self.offload.map_or(!self.coexist, |offload| offload == Switch::On)
    }

    /// Takes from the running configuration what cannot change while it runs, and what others follow from ([`Self::wants_offload`], quotas).
    /// The sentences say what was asked for in vain.
    pub fn keep_fixed(&mut self, running: &Self) -> Vec<&'static str> {
        let asked = *self;
        (self.attach, self.coexist, self.max_flows) = (running.attach, running.coexist, running.max_flows);
        let changes = [
            (asked.attach != self.attach, "attach counts at the next start"),
            (asked.coexist != self.coexist, "coexist counts at the next start"),
            (
                asked.max_flows != self.max_flows,
                "max_flows counts after `natbpf detach`; the flow table keeps its size",
            ),
        ];
        changes.into_iter().filter_map(|(changed, sentence)| changed.then_some(sentence)).collect()
    }

    /// Lets what was said on the command line win over the file.
    pub fn apply(&mut self, arguments: &DatapathArgs) {
        if let Some(attach) = arguments.attach {
            self.attach = attach;
        }
        self.hook = arguments.hook.unwrap_or(self.hook);
        self.coexist |= arguments.coexist;
        self.offload = arguments.offload.or(self.offload);
        self.revalidate = arguments.revalidate.unwrap_or(self.revalidate);
        self.conntrack_liberal &= !arguments.no_conntrack_liberal;
    }
}

impl Default for DatapathConfig {
    fn default() -> Self {
        Self {
            max_flows: 1 << 18,
            attach: AttachMode::Auto,
            hook: HookMode::Auto,
            coexist: false,
            offload: None,
            revalidate: Duration::from_secs(10),
            conntrack_liberal: true,
        }
    }
}

impl Config {
    /// The hook that is asked for on an interface.
    pub fn hook(&self, interface: &str) -> HookMode {
        self.interfaces.get(interface).copied().unwrap_or(self.datapath.hook)
    }

    /// Reads and checks a TOML file. The error names file, line and column.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        file::read(path)
    }

    /// The configuration that `natbpf masquerade` was given.
    pub fn from_masquerade(arguments: &MasqueradeArgs) -> Result<Self, Problem> {
        let mut config = arguments::config(arguments)?;
        check::check(&config).map_err(|misfit| misfit.problem)?;
        config.datapath.apply(&arguments.datapath);
        if let Some(max_flows) = arguments.max_flows {
            config.datapath.max_flows = max_flows;
        }
        Ok(config)
    }
}
