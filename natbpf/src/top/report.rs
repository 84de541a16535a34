//! What is shown, as JSON. Scripts rely on the names; `docs/schema/top.json` has them all.

use std::net::IpAddr;

use serde::Serialize;

use super::count::{Rate, share};

/// What has come between two readings, and how things are at the second one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub instance: String,
    /// Label of the network namespace.
    pub netns: String,
    pub daemon_running: bool,
    /// Whether anything is repeated.
    pub offload: bool,
    /// Since the datapath was attached; `None`: the BPF file system does not say.
    pub uptime_seconds: Option<u64>,
    /// Between the two readings.
    pub interval_seconds: f64,
    pub repeated: Repeated,
    pub begun: Begun,
    pub lost: Lost,
    pub tables: Vec<TableUse>,
    pub edges: Vec<EdgeRow>,
    pub instances: Vec<InstanceRow>,
    /// Those that most has come by.
    pub flows: Vec<FlowRow>,
    /// How many there are that match the filter.
    pub flows_matching: u64,
    /// Of which packets were dropped, ever.
    pub drops: Vec<DropRow>,
}

/// How many of the packets that came in by edges were repeated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Repeated {
    pub packets: u64,
    pub packets_per_second: f64,
    /// Those that went through the kernel.
    pub left_packets: u64,
    pub left_packets_per_second: f64,
    /// 0 to 1; `None`: none came.
    pub share: Option<f64>,
}

/// What has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Begun {
    /// Of natbpf's own NAT: connections.
    pub flows: u64,
    pub flows_per_second: f64,
    /// A connection has one in each direction.
    pub paths: u64,
    pub paths_per_second: f64,
}

/// What was not repeated for want of room or time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Lost {
    /// Paths for which there was no room.
    pub paths: u64,
    /// Packets that were on their way for too long to be noted.
    pub crossings: u64,
    pub per_second: f64,
}

/// How full a table is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableUse {
    /// `flows`, `mappings`, `paths`.
    pub name: &'static str,
    pub count: u64,
    pub max: u64,
    /// 0 to 1.
    pub share: f64,
}

impl TableUse {
    pub fn new(name: &'static str, count: u64, max: u64) -> Self {
        Self { name, count, max, share: share(count, max).unwrap_or_default() }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EdgeRow {
    pub name: String,
    /// Interface index.
    pub interface: u32,
    /// No instances are behind it.
    pub outside: bool,
    /// All that the device has counted, however it went on.
    #[serde(rename = "in")]
    pub inward: Rate,
    /// The same, or all that was repeated, if that is more.
    #[serde(rename = "out")]
    pub outward: Rate,
    /// Of what came in by it.
    pub repeated: Rate,
    /// Of the bytes that came in; 0 to 1; `None`: none came.
    pub share_repeated: Option<f64>,
    pub paths_in: u64,
    pub paths_out: u64,
}

/// An address on the inside. Packets through the kernel are not counted by address.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceRow {
    pub address: IpAddr,
    /// Where it is; `None`: no path leads there.
    pub edge: Option<String>,
    /// In the flow table of natbpf's own NAT.
    pub flows: u64,
    pub paths: u64,
    /// Repeated from it.
    pub sent: Rate,
    /// Repeated to it.
    pub received: Rate,
}

/// A path: one direction of a connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowRow {
    pub protocol_number: u8,
    pub comes: EndsRow,
    pub leaves: EndsRow,
    /// Repeated.
    #[serde(flatten)]
    pub rate: Rate,
}

/// Packets at an edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct EndsRow {
    pub edge: String,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Or the identifier or type of an ICMP query; 0 for protocols without ports.
    pub source_port: u16,
    pub destination_port: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DropRow {
    /// Name of the counter.
    pub cause: &'static str,
    pub packets: u64,
    pub packets_per_second: f64,
    /// Since the datapath was attached.
    pub total: u64,
    /// What is wrong.
    pub help: &'static str,
    /// What can be done; empty: nothing.
    pub advice: &'static str,
}
