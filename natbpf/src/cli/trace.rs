//! The options of `natbpf trace`.

use std::path::PathBuf;

use clap::{Args, value_parser};
use ipnet::IpNet;

use super::paths::network;
use crate::flows::filter;

#[derive(Clone, Debug, Args)]
pub struct TraceArgs {
    /// Write pcapng, with what became of each packet as its comment; "-": to standard output
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,

    /// Print JSON: one object a line
    #[arg(long, conflicts_with = "write")]
    pub json: bool,

    /// End after so many packets; each counts once at every hook that it passes
    #[arg(short, long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Look at one packet in N at each hook, chosen by chance, before the filter
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=1_000_000_000))]
    pub sample: u32,

    /// Take so many bytes of each packet at most
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = value_parser!(u32).range(1..=65000))]
    pub snaplen: u32,

    #[command(flatten)]
    pub filter: TraceFilterArgs,
}

/// Which packets; everything that is given has to match, in either direction of a flow.
#[derive(Clone, Debug, Default, Args)]
pub struct TraceFilterArgs {
    /// A device at which natbpf sees packets
    #[arg(short, long, alias = "interface", value_name = "IF")]
    pub edge: Option<String>,

    /// Protocol, by name or number
    #[arg(short, long = "protocol", alias = "proto", value_name = "PROTO", value_parser = filter::protocol)]
    pub protocol: Option<u8>,

    /// Source address or network, before or after translation
    #[arg(short, long, alias = "src", value_name = "ADDR[/LEN]", value_parser = network)]
    pub source: Option<IpNet>,

    /// Destination address or network, before or after translation
    #[arg(short, long, alias = "dst", value_name = "ADDR[/LEN]", value_parser = network)]
    pub destination: Option<IpNet>,

    /// Source port
    #[arg(long, value_name = "PORT")]
    pub sport: Option<u16>,

    /// Destination port
    #[arg(long, value_name = "PORT")]
    pub dport: Option<u16>,
}
