//! The options of `natbpf top`.

use std::time::Duration;

use clap::Args;
use ipnet::IpNet;

use super::packets::network;
use crate::{
    flows::filter,
    top::{Sort, Wanted},
};

#[derive(Clone, Copy, Debug, Args)]
pub struct TopArgs {
    /// Seconds between two readings
    #[arg(short = 'n', long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub interval: Duration,

    /// Read twice, print what has come in between, and end
    #[arg(long)]
    pub once: bool,

    /// With --once: print JSON
    #[arg(long, requires = "once")]
    pub json: bool,

    /// What stands first; of more than 1000 flows those with most are shown
    #[arg(long, value_enum, default_value_t, value_name = "ORDER")]
    pub sort: Sort,

    /// Flows of this protocol alone, by name or number
    #[arg(short, long = "protocol", alias = "proto", value_name = "PROTO", value_parser = filter::protocol)]
    pub protocol: Option<u8>,

    /// Flows from this address or network alone, as packets come in or as they leave
    #[arg(short, long, alias = "src", value_name = "ADDR[/LEN]", value_parser = network)]
    pub source: Option<IpNet>,

    /// Flows to this address or network alone, as packets come in or as they leave
    #[arg(short, long, alias = "dst", value_name = "ADDR[/LEN]", value_parser = network)]
    pub destination: Option<IpNet>,
}

impl From<&TopArgs> for Wanted {
    fn from(arguments: &TopArgs) -> Self {
        let TopArgs { protocol, source, destination, .. } = *arguments;
        Self { protocol, source, destination }
    }
}

/// A tenth of a second to an hour.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "give a number of seconds from 0.1 to 3600".to_owned())
}
