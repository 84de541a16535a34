//! All that a configuration says.

use std::collections::BTreeMap;

use natbpf_common::flow::timeouts::Timeouts;

use super::{DatapathConfig, Edges, Floating, HookMode, MasqueradeRule, PortForward};

/// A whole configuration. Interfaces may still be missing: `plan` finds out.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The first one that matches a new flow decides.
    pub rules: Vec<MasqueradeRule>,
    /// No two of them overlap.
    pub forwards: Vec<PortForward>,
    /// No address and no host twice on an uplink.
    pub floating: Vec<Floating>,
    /// Whatever the host does to packets between these is repeated.
    pub accelerate: Vec<Edges>,
    /// Of single interfaces, by name; none twice.
    pub interfaces: BTreeMap<String, HookMode>,
    pub datapath: DatapathConfig,
    pub timeouts: Timeouts,
}

impl Config {
    /// The hook that is asked for on an interface.
    pub fn hook(&self, interface: &str) -> HookMode {
        self.interfaces.get(interface).copied().unwrap_or(self.datapath.hook)
    }
}
