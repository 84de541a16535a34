//! What offload needs of conntrack.

use std::sync::Arc;

use anyhow::Result;

use super::state::Daemon;
use crate::config::Config;

impl Daemon {
    /// Whether what conntrack does asks for another plan.
    pub(super) async fn recheck_offload(&mut self) -> bool {
        match self.settle_again().await {
            Ok(changed) => changed,
            Err(error) => {
                tracing::error!("cannot see to conntrack: {error:#}");
                false
            }
        }
    }

    /// Sees to conntrack. If there is no offload any more, nothing is repeated from now on: all else takes
    /// its time, or fails.
    pub(super) async fn settle_again(&mut self) -> Result<bool> {
        let config = Arc::clone(&self.config);
        self.settle_again_with(&config).await
    }

    /// The same for a configuration that is not in force yet.
    pub(super) async fn settle_again_with(&mut self, config: &Config) -> Result<bool> {
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
