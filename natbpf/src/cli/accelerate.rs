//! The options of `natbpf accelerate`, and the configuration that they are.

use clap::Args;

use super::daemon::DaemonArgs;
use crate::config::{Config, DatapathConfig, Problem, keys::AccelerateKeys};

#[derive(Clone, Debug, Args)]
pub struct AccelerateArgs {
    #[command(flatten)]
    pub edges: AccelerateKeys,

    #[command(flatten)]
    pub daemon: DaemonArgs,
}

impl Config {
    /// The configuration that `natbpf accelerate` was given.
    pub fn from_accelerate(arguments: &AccelerateArgs) -> Result<Self, Problem> {
        let datapath = DatapathConfig::default().with(&arguments.daemon.datapath)?;
        Ok(Self { accelerate: vec![arguments.edges.edges()?], datapath, ..Self::default() })
    }
}
