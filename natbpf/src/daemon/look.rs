//! Looking at the interfaces.

use anyhow::Result;
use tokio::time::Instant;

use super::state::Leases;
use crate::{
    config::Config,
    network::{Network, Snapshot, Surroundings, devices},
};

/// They as they are now, with routes if the configuration needs them.
pub async fn look(
    network: &Network,
    config: &Config,
    leases: &mut Leases,
    surroundings: &mut Surroundings,
) -> Result<Snapshot> {
    let mut snapshot = network.snapshot().await?;
    leases.follow(&mut snapshot, Instant::now());
    if config.wants_routes() {
        snapshot.routes = network.routes().await?;
    }
    if config.datapath.wants_offload() {
        snapshot.devices = devices(&snapshot.links);
    }
    if config.passes_namespaces() {
        snapshot.namespaces = surroundings.namespaces(&snapshot.links);
    }
    Ok(snapshot)
}
