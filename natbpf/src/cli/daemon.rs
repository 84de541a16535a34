//! The options of both commands that run until they are ended.

use clap::Args;

use crate::config::keys::DatapathKeys;

#[derive(Clone, Debug, Args)]
pub struct DaemonArgs {
    /// Leave the programs in place when the daemon ends, so that traffic goes on
    #[arg(long)]
    pub stay: bool,

    #[command(flatten)]
    pub datapath: DatapathKeys,
}
