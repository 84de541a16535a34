//! Reading the configuration again while traffic flows.

use std::sync::Arc;

use anyhow::Result;

use super::{
    apply::{Answer, Wish},
    house,
    look::look,
    settings::configured,
    start::random_keys,
    state::Daemon,
};
use crate::{datapath::Attacher, network::Network, plan::Missing};

impl Daemon {
    /// Reads the configuration again; a wrong one changes nothing.
    pub(super) async fn reload(&mut self, network: &Network, attacher: &Attacher) {
        match self.try_reload(network, attacher).await {
            // With millions of flows that takes seconds, and the loop does not wait.
            Ok(misplaced) => drop(tokio::spawn(house::say_reloaded(misplaced))),
            Err(error) => tracing::error!("not reloaded, the old configuration goes on: {error:#}"),
        }
    }

    /// The answer, if there is one, comes when nothing of the old configuration goes on.
    async fn try_reload(&mut self, network: &Network, attacher: &Attacher) -> Result<Answer> {
        let mut config = self.options.source.read()?;
        let fixed = config.datapath.keep_fixed(&self.config.datapath);
        let config = Arc::new(config);
        let snapshot = look(network, &config, &mut self.leases, &mut self.surroundings).await?;
        let wish = Wish { config: &config, snapshot: &snapshot, missing: Missing::Refused };
        // What could not be had before is tried again: by now it may be mended, or the operator is told once more.
        self.refusals.now.clear();
        let plan = self.propose(&wish)?;
        self.pass_namespaces(&snapshot.namespaces);
        self.offloading.look_again();
        self.settle_again(&config).await?;
        for warning in fixed.into_iter().chain(plan.warnings.iter().map(String::as_str)) {
            tracing::warn!("{warning}");
        }
        self.xdp.refused.clear();
        let misplaced = match self.apply(&wish, attacher).await {
            Ok(misplaced) => misplaced,
            Err(error) => {
                // It may have failed half way.
                self.in_force = false;
                return Err(match self.go_back(network, attacher).await {
                    Ok(()) => error,
                    Err(failure) => {
                        // Not all of the old one is in force: it is tried again by and by.
                        self.failure = Some(format!("{failure:#}"));
                        failure.context(format!("{error:#}; and then"))
                    }
                });
            }
        };
        // It is in force, whatever fails now.
        self.config = config;
        self.sentry.set_anyway(self.config.datapath.anyway);
        let settings = self.tables.settings();
        let written =
            settings.and_then(|settings| self.tables.set_settings(configured(&self.config, &settings)));
        let revalidate = self.config.datapath.revalidate.into();
        let written = written.and_then(|()| self.tables.set_repeat(revalidate, random_keys));
        if let Err(error) = written {
            tracing::error!("the new timeouts are not in force, reload once more: {error:#}");
        }
        if !self.offloading.owed {
            self.say_hooks();
        }
        Ok(misplaced)
    }

    /// Makes the datapath what the old configuration says, after another one has failed half way.
    async fn go_back(&mut self, network: &Network, attacher: &Attacher) -> Result<()> {
        let old = Arc::clone(&self.config);
        self.offloading.look_again();
        self.settle_again(&old).await?;
        let snapshot = look(network, &old, &mut self.leases, &mut self.surroundings).await?;
        let wish = Wish { config: &old, snapshot: &snapshot, missing: Missing::LeftOut };
        self.apply(&wish, attacher).await.map(drop)
    }
}
