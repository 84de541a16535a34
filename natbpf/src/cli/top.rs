//! The options of `natbpf top`.

use std::time::Duration;

use clap::Args;

use super::EndsArgs;
use crate::top::{Sort, Wanted};

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

    #[command(flatten)]
    pub ends: EndsArgs,
}

impl From<&TopArgs> for Wanted {
    fn from(arguments: &TopArgs) -> Self {
        let EndsArgs { protocol, source, destination } = arguments.ends;
        Self { protocol, source, destination }
    }
}

/// A tenth of a second to an hour.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "give a number of seconds from 0.1 to 3600".to_owned())
}
