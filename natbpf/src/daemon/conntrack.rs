//! What offload needs of conntrack.

use std::sync::Arc;

use anyhow::Result;

use super::state::Daemon;
use crate::config::Config;

impl Daemon {
    /// Whether what conntrack does asks for another plan.
    pub(super) async fn recheck_offload(&mut self) -> bool {
        let config = Arc::clone(&self.config);
        self.settle_again(&config).await.unwrap_or_else(|error| {
            tracing::error!("cannot see to conntrack: {error:#}");
            false
        })
    }

    /// Sees to conntrack, for a configuration that is in force or is to be. If there is no offload any more, nothing is
    /// repeated from now on: all else takes its time, or fails.
    pub(super) async fn settle_again(&mut self, config: &Config) -> Result<bool> {
        let changed = self.offloading.settle_again(&mut self.tables, config)?;
        if changed {
            // Ports come and go with it.
            self.offloading.unfinished = true;
            if !self.offloading.state.is_on() {
                self.offloading.switch().await?;
            }
        }
        Ok(changed)
    }
}
