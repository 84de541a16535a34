//! The options of `natbpf paths`.

use clap::{Args, ValueEnum};

use super::{EndsArgs, PacketArgs};
use crate::paths::PathFilter;

#[derive(Clone, Debug, Args)]
pub struct PathsArgs {
    #[arg(value_enum)]
    pub action: PathsAction,

    /// Print JSON: one object a line
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub filter: PacketArgs,
}

/// What to do with the paths that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PathsAction {
    /// Print them
    List,
    /// Print how many there are
    Count,
    /// Print those that come, change and go, until stopped
    Watch,
    /// Have the host be asked again at once
    Flush,
}

impl From<&PathsArgs> for PathFilter {
    fn from(arguments: &PathsArgs) -> Self {
        let PacketArgs { edge, ends, sport, dport } = arguments.filter.clone();
        let EndsArgs { protocol, source, destination } = ends;
        Self { edge, protocol, source, destination, sport, dport }
    }
}
