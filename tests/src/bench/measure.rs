//! What is measured, and in which unit.

use std::fmt;

use clap::ValueEnum;

use crate::traffic::Direction;

/// Measures that are taken together, as the command line names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Group {
    /// Packets of flows that are there, both directions
    Packets,
    /// Flows that begin
    New,
    /// Packets that the gateway itself sends
    Host,
    /// Bulk TCP by iperf3
    Stream,
    /// TCP requests and responses on one connection, and their latency
    Requests,
    /// TCP connections one after the other, and their latency
    Connections,
    /// Memory a flow
    Memory,
    /// A round of natbpf's housekeeping through a full table
    Housekeeping,
}

impl Group {
    /// The groups that need the generator in the lab.
    pub const PACKETS: [Self; 5] = [Self::Packets, Self::New, Self::Host, Self::Memory, Self::Housekeeping];
    /// The groups that need real programs at the ends.
    pub const STREAMS: [Self; 3] = [Self::Requests, Self::Connections, Self::Stream];
}

/// Flows that [`Measure::NewFlows`] begins.
pub const NEW: u32 = 100_000;

/// A figure of a distribution of latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Percentile {
    P50,
    P99,
    P999,
}

impl Percentile {
    pub const ALL: [Self; 3] = [Self::P50, Self::P99, Self::P999];

    pub const fn share(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P99 => 0.99,
            Self::P999 => 0.999,
        }
    }
}

/// The order is that of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    Packets { direction: Direction, flows: u32 },
    Repeated { direction: Direction, flows: u32 },
    NewFlows,
    Host,
    Stream { direction: Direction, streams: u8 },
    Requests,
    RequestLatency(Percentile),
    Connections,
    ConnectionLatency(Percentile),
    Memory,
    Housekeeping { flows: u32 },
}

impl Measure {
    pub const fn group(self) -> Group {
        match self {
            Self::Packets { .. } | Self::Repeated { .. } => Group::Packets,
            Self::NewFlows => Group::New,
            Self::Host => Group::Host,
            Self::Stream { .. } => Group::Stream,
            Self::Requests | Self::RequestLatency(_) => Group::Requests,
            Self::Connections | Self::ConnectionLatency(_) => Group::Connections,
            Self::Memory => Group::Memory,
            Self::Housekeeping { .. } => Group::Housekeeping,
        }
    }

    pub const fn unit(self) -> &'static str {
        match self {
            Self::Packets { .. } | Self::NewFlows | Self::Host => "ns",
            Self::Stream { .. } => "Gbit/s",
            Self::Requests | Self::Connections => "1/s",
            Self::RequestLatency(_) | Self::ConnectionLatency(_) => "us",
            Self::Repeated { .. } => "%",
            Self::Memory => "bytes",
            Self::Housekeeping { .. } => "ms",
        }
    }

    pub const fn more_is_better(self) -> bool {
        matches!(self, Self::Repeated { .. } | Self::Stream { .. } | Self::Requests | Self::Connections)
    }

    /// How often a second, of what a figure in nanoseconds is the cost of.
    pub fn per_second(self, value: f64) -> Option<f64> {
        (self.unit() == "ns" && value > 0.0).then(|| 1e9 / value)
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percentile = |percentile: &Percentile| format!("{}th percentile", percentile.share() * 100.0);
        match self {
            Self::Repeated { direction, flows } => {
                write!(f, "share repeated of the {}", Self::Packets { direction: *direction, flows: *flows })
            }
            Self::Packets { direction, flows } => {
                let way = match direction {
                    Direction::Original => "original",
                    Direction::Reply => "reply",
                };
                let plural = if *flows == 1 { "" } else { "s" };
                write!(f, "packets of {} flow{plural}, {way} direction", thousands(*flows))
            }
            Self::NewFlows => f.write_str("new flows"),
            Self::Host => f.write_str("the host's own packets"),
            Self::Stream { direction, streams } => {
                let way = match direction {
                    Direction::Original => "instance to outside",
                    Direction::Reply => "outside to instance",
                };
                let plural = if *streams == 1 { "" } else { "s" };
                write!(f, "bulk TCP, {streams} stream{plural}, {way}")
            }
            Self::Requests => f.write_str("TCP requests"),
            Self::RequestLatency(at) => write!(f, "latency of TCP requests, {}", percentile(at)),
            Self::Connections => f.write_str("TCP connections"),
            Self::ConnectionLatency(at) => write!(f, "latency of TCP connections, {}", percentile(at)),
            Self::Memory => f.write_str("memory of a flow"),
            Self::Housekeeping { flows } => {
                write!(f, "a round of housekeeping through {} flows", thousands(*flows))
            }
        }
    }
}

/// `1000000` as `1,000,000`.
pub fn thousands(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_said_as_people_say_them() {
        let packets = |flows| Measure::Packets { direction: Direction::Original, flows }.to_string();
        assert_eq!(packets(1), "packets of 1 flow, original direction");
        assert_eq!(packets(1_000_000), "packets of 1,000,000 flows, original direction");
        assert_eq!(thousands(100_000), "100,000");
        let repeated = Measure::Repeated { direction: Direction::Reply, flows: 2 }.to_string();
        assert_eq!(repeated, "share repeated of the packets of 2 flows, reply direction");
        let latency = Measure::RequestLatency(Percentile::P999).to_string();
        assert_eq!(latency, "latency of TCP requests, 99.9th percentile");
    }

    #[test]
    fn nanoseconds_are_a_rate_too() {
        assert_eq!(Measure::NewFlows.per_second(500.0), Some(2e6));
        assert_eq!(Measure::Memory.per_second(500.0), None);
        assert_eq!(Measure::Host.per_second(0.0), None);
    }
}
