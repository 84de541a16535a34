//! The options of `natbpf trace`.

use std::path::PathBuf;

use clap::{Args, value_parser};

use super::PacketArgs;

#[derive(Clone, Debug, Args)]
#[command(mut_arg("edge", |edge| edge.help("At the hooks of this device alone")))]
pub struct TraceArgs {
    /// Write pcapng, with what became of each packet as its comment; "-": to standard output. A file that is there is
    /// replaced
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
    pub filter: PacketArgs,
}
