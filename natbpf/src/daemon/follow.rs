//! Following changes: of the interfaces, their addresses and routes, and of the configuration.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::time::Instant;

use super::{Daemon, Wish, configured, house, look};
use crate::{
    datapath::{Attacher, Role},
    network::{Change, Network},
    plan::Missing,
};

/// Looking at routes because of changes among them takes at most one part of so many of the time.
const ROUTES_SHARE: u32 = 20;

impl Daemon {
    /// What nobody tells of, and what could not be done before.
    pub(super) async fn look_around(&mut self, network: &Network, attacher: &Attacher) {
        self.announcer.tick();
        self.recheck_targets();
        let lost = self.look_at_kernel(attacher).await;
        let routes_due = self.routes_due <= Instant::now();
        let again =
            self.failure.is_some() || self.routes_changed || self.rota.is_over() && self.refusals.any();
        if self.recheck_offload() || lost || again && routes_due {
            self.follow(&Change::anything(), network, attacher).await;
        }
    }

    /// Follows a change of the interfaces or their addresses. What fails is tried again by and by.
    pub(super) async fn follow(&mut self, change: &Change, network: &Network, attacher: &Attacher) {
        match self.try_follow(change, network, attacher).await {
            Ok(()) => {}
            Err(error) => {
                let failure = format!("{error:#}");
                if self.failure.as_ref() != Some(&failure) {
                    tracing::error!("cannot follow a change of the interfaces, and tries again: {failure}");
                }
                self.failure = Some(failure);
            }
        }
    }

    async fn try_follow(&mut self, change: &Change, network: &Network, attacher: &Attacher) -> Result<()> {
        // An interface that has the number of one that is gone has none of its programs.
        let ours = self.plan.interfaces().map(|(interface, _, role)| (interface, role));
        let removed: Vec<(u32, Role)> =
            ours.filter(|(interface, _)| change.removed.contains(interface)).collect();
        for (interface, role) in &removed {
            self.detach(*interface, None, *role, attacher).await;
        }
        self.xdp.forget(&change.removed);
        let mut lost = false;
        if !change.filters.is_empty() {
            lost = self.find_lost(attacher, |interface| change.filters.contains(&interface)).await;
            lost |= self.recheck_others(&change.filters, attacher).await?;
        }
        if !change.interfaces && !lost && !self.refusals.concern(&change.filters) {
            // In bursts, on some routers: the next look around is early enough.
            self.routes_changed |= change.routes;
            return Ok(());
        }
        self.routes_changed = false;
        self.refusals.forget();
        let started = Instant::now();
        let snapshot = look(network, &self.config).await?;
        // Where there are as many routes as in the Internet, they change all the time.
        self.routes_due = Instant::now() + started.elapsed() * ROUTES_SHARE;
        self.notices.follow(&snapshot);
        self.offloading.settle_again(&mut self.tables, &self.config)?;
        let config = Arc::clone(&self.config);
        let wish = Wish { config: &config, snapshot: &snapshot, missing: Missing::LeftOut };
        let plan = self.possible(&wish, attacher).await?;
        let incomplete = self.lost || !self.in_force || self.is_incomplete()?;
        if plan.is_same(&self.plan) && removed.is_empty() && !incomplete {
            self.plan.left_out = plan.left_out;
            self.say_left_out();
            // A link may have come back.
            self.announcer.update(self.plan.announced(&snapshot));
            self.failure = None;
            return Ok(());
        }
        let (warnings, uplinks) = (self.plan.warnings.clone(), self.plan.uplinks.clone());
        self.lost = false;
        self.apply(&wish, attacher).await?;
        // Ports come and go by the minute on some hosts; what was said need not be said again.
        for warning in self.plan.warnings.iter().filter(|warning| !warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        for uplink in self.plan.uplinks.iter().filter(|uplink| !uplinks.contains(uplink)) {
            tracing::info!("{uplink}");
        }
        if !self.offloading.owes_ports() {
            self.say_hooks();
        }
        self.failure = None;
        Ok(())
    }

    /// Reads the configuration again; a wrong one changes nothing.
    pub(super) async fn reload(&mut self, network: &Network, attacher: &Attacher) {
        match self.try_reload(network, attacher).await {
            Ok(()) => tracing::info!("reloaded; flows go on"),
            Err(error) => tracing::error!("not reloaded, the old configuration goes on: {error:#}"),
        }
    }

    async fn try_reload(&mut self, network: &Network, attacher: &Attacher) -> Result<()> {
        let config = Arc::new(self.options.source.read()?);
        let snapshot = look(network, &config).await?;
        let wish = Wish { config: &config, snapshot: &snapshot, missing: Missing::Refused };
        // What could not be had before is no reason against another configuration.
        let plan = self.propose(&wish)?;
        self.offloading.settle_again(&mut self.tables, &config)?;
        if config.datapath.max_flows != self.config.datapath.max_flows {
            tracing::warn!("max_flows counts after `natbpf detach`; the flow table keeps its size");
        }
        for warning in &plan.warnings {
            tracing::warn!("{warning}");
        }
        self.xdp.forget_refusals();
        let misplaced = match self.apply(&wish, attacher).await {
            Ok(misplaced) => misplaced,
            Err(error) => {
                let old = Arc::clone(&self.config);
                let snapshot = look(network, &old).await?;
                self.offloading.settle_again(&mut self.tables, &old)?;
                let wish = Wish { config: &old, snapshot: &snapshot, missing: Missing::LeftOut };
                self.apply(&wish, attacher).await.context(format!("{error:#}; and then"))?;
                return Err(error);
            }
        };
        // Whoever asked for it wants to know when nothing of the old goes on.
        if let Some(misplaced) = misplaced {
            house::done(misplaced).await?;
        }
        let settings = self.tables.settings()?;
        self.tables.set_settings(configured(&config, settings))?;
        self.config = config;
        if !self.offloading.owes_ports() {
            self.say_hooks();
        }
        Ok(())
    }
}
