//! Looking at the interfaces.

use anyhow::Result;

use crate::{
    config::Config,
    network::{Network, Snapshot, devices},
};

/// They as they are now, with routes if the configuration needs them.
pub async fn look(network: &Network, config: &Config) -> Result<Snapshot> {
    let mut snapshot = network.snapshot().await?;
    if config.wants_routes() {
        snapshot.routes = network.routes().await?;
    }
    if config.datapath.wants_offload() {
        snapshot.devices = devices(&snapshot.links);
    }
    Ok(snapshot)
}
