//! All that is told, as JSON.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr};

use natbpf_common::contract::counter::{Counter, Counters, Kind};
use serde::Serialize;

use super::{
    AttachInfo, Attached, EdgeStatus, FloatingStatus, ForwardStatus, HookStatus, LeftOutStatus,
    NamespaceStatus, ObstacleStatus, OffloadStatus, OtherStatus, PoolStatus, PortStatus,
};

/// All of it. Scripts rely on the names. Row O09.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub instance: String,
    /// Label of the network namespace.
    pub netns: String,
    /// Layout of what is pinned.
    pub schema: u32,
    pub daemon_running: bool,
    pub offload: OffloadStatus,
    pub uplinks: Vec<UplinkStatus>,
    /// Where hairpinning is done.
    pub inside: Vec<InsideStatus>,
    /// Whose flows are offloaded.
    pub ports: Vec<PortStatus>,
    /// Those that paths lead from or to.
    pub edges: Vec<EdgeStatus>,
    /// Interfaces that are meant and cannot be had, as the daemon has noted.
    pub left_out: Vec<LeftOutStatus>,
    /// Other network namespaces that packets pass, as the daemon has noted.
    pub namespaces: Vec<NamespaceStatus>,
    /// For uplinks and ports: where packets of offloaded flows are served.
    pub hooks: Vec<HookStatus>,
    /// What somebody else has on hooks, wherever in the namespace.
    pub others: Vec<OtherStatus>,
    /// Rules that have to see every packet, as the daemon has found.
    pub obstacles: Vec<ObstacleStatus>,
    pub forwards: Vec<ForwardStatus>,
    pub floating: Vec<FloatingStatus>,
    pub pools: Vec<PoolStatus>,
    pub flows: Usage,
    pub mappings: Usage,
    pub counters: CounterReport,
}

#[derive(Clone, Debug, Serialize)]
pub struct UplinkStatus {
    pub name: String,
    /// Interface index.
    pub interface: u32,
    pub attached: Attached,
    /// In the order in which they are preferred.
    pub addresses: Vec<Ipv4Addr>,
}

/// An interface that inside hosts send by.
#[derive(Clone, Debug, Serialize)]
pub struct InsideStatus {
    pub name: String,
    /// Interface index.
    pub interface: u32,
    pub attached: Option<AttachInfo>,
}

/// How full a table is. Row O06.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Usage {
    pub count: u64,
    pub max: u64,
}

/// Sums over all processors, by name.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CounterReport {
    pub traffic: BTreeMap<&'static str, u64>,
    pub flows: BTreeMap<&'static str, u64>,
    pub paths: BTreeMap<&'static str, u64>,
    pub drops: BTreeMap<&'static str, u64>,
}

impl Report {
    /// How many of the packets that came in by edges were repeated, `93.4 % of 5000 packets`. `None`: none came.
    pub(super) fn share(&self) -> Option<String> {
        let count = |counter: Counter| self.counters.paths.get(counter.name()).copied().unwrap_or_default();
        let repeated = count(Counter::PacketsRepeated);
        let all = repeated + count(Counter::PacketsLeft);
        (all > 0).then(|| format!("{:.1} % of {all} packets", repeated as f64 * 100.0 / all as f64))
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, max } = *self;
        let percent = if max == 0 { 0.0 } else { count as f64 * 100.0 / max as f64 };
        write!(f, "{count} of {max} ({percent:.1} %)")
    }
}

impl From<&Counters> for CounterReport {
    fn from(counters: &Counters) -> Self {
        let mut report = Self::default();
        for &counter in Counter::ALL {
            let group = match counter.kind() {
                Kind::Traffic => &mut report.traffic,
                Kind::Flows => &mut report.flows,
                Kind::Paths => &mut report.paths,
                Kind::Drop => &mut report.drops,
            };
            group.insert(counter.name(), counters[counter as usize]);
        }
        report
    }
}
