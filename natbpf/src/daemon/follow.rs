//! Following changes: of the interfaces, their addresses and routes, and of the configuration.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{sync::oneshot, time::Instant};

use super::{
    Daemon, Wish, configured,
    house::{self, Outcome},
    look,
};
use crate::{
    datapath::{Attacher, Role},
    network::{Change, Network},
    plan::Missing,
};

/// After following a change so many times as long as that took nothing is followed: whoever can change an interface all the time, as a
/// container can its end of a veth, is not to have all the time.
const INTERFACES_SHARE: u32 = 4;

/// At most: that suffices for all the rest to get its turn, and who waits for an address does not wait long.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Looking at routes because of changes among them takes at most one part of so many of the time.
const ROUTES_SHARE: u32 = 20;

impl Daemon {
    /// What nobody tells of, and what could not be done before.
    pub(super) async fn look_around(&mut self, network: &Network, attacher: &Attacher) {
        self.announcer.tick();
        self.recheck_targets();
        let lost = self.look_at_kernel(attacher).await;
        let routes_due = self.routes_due <= Instant::now();
        let again = self.failure.is_some()
            || self.routes_changed
            || self.rota.is_over() && self.refusals.any()
            || self.is_incomplete().unwrap_or(true);
        if lost {
            // It is told of once a second at most, and packets leave untranslated meanwhile.
            self.interfaces_due = Instant::now();
        }
        if self.recheck_offload() || lost || again && routes_due {
            self.follow(&Change::anything(), network, attacher).await;
        }
    }

    /// Follows a change of the interfaces or their addresses. What fails is tried again by and by.
    pub(super) async fn follow(&mut self, change: &Change, network: &Network, attacher: &Attacher) {
        let started = Instant::now();
        let followed = self.try_follow(change, network, attacher).await;
        let pause = (started.elapsed() * INTERFACES_SHARE).min(LONGEST_PAUSE);
        self.interfaces_due = self.interfaces_due.max(Instant::now() + pause);
        match followed {
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
        if !removed.is_empty() {
            self.gone = true;
            self.detach(&removed, |_| None, attacher).await;
        }
        self.xdp.forget(&change.removed);
        self.refusals.forget_removed(&change.removed);
        self.claimed.retain(|(interface, _)| !change.removed.contains(interface));
        let mut lost = false;
        if !change.filters.is_empty() {
            lost = self.find_lost(attacher, |interface| change.filters.contains(&interface)).await;
            if self.recheck_others(&change.filters, attacher).await? {
                lost = true;
                self.offloading.settle_again(&mut self.tables, &self.config)?;
                if !self.offloading.state.is_on() {
                    // Before all else, which takes its time or fails.
                    self.offloading.switch().await?;
                }
            }
        }
        let pauses = !change.interfaces || Instant::now() < self.interfaces_due;
        if pauses && !lost && !self.refusals.concern(&change.filters) {
            // In bursts, on some routers: the next look around is early enough.
            self.routes_changed |= change.routes;
            self.interfaces_changed |= change.interfaces;
            return Ok(());
        }
        self.routes_changed = false;
        self.interfaces_changed = false;
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
        let incomplete = self.gone || !self.claimed.is_empty() || !self.in_force || self.is_incomplete()?;
        if plan.is_same(&self.plan) && !incomplete {
            self.plan.left_out = plan.left_out;
            self.say_left_out();
            // A link may have come back.
            self.announcer.update(self.plan.announced(&snapshot));
            self.failure = None;
            return Ok(());
        }
        let (warnings, uplinks) = (self.plan.warnings.clone(), self.plan.uplinks.clone());
        self.apply(&wish, attacher).await?;
        self.gone = false;
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
            // With millions of flows that takes seconds, and the loop does not wait.
            Ok(misplaced) => drop(tokio::spawn(house::say_reloaded(misplaced))),
            Err(error) => tracing::error!("not reloaded, the old configuration goes on: {error:#}"),
        }
    }

    /// The answer, if there is one, comes when nothing of the old configuration goes on.
    async fn try_reload(
        &mut self,
        network: &Network,
        attacher: &Attacher,
    ) -> Result<Option<oneshot::Receiver<Outcome>>> {
        let mut config = self.options.source.read()?;
        let fixed = config.datapath.keep_fixed(&self.config.datapath);
        let config = Arc::new(config);
        let snapshot = look(network, &config).await?;
        let wish = Wish { config: &config, snapshot: &snapshot, missing: Missing::Refused };
        // What could not be had before is no reason against another configuration.
        let plan = self.propose(&wish)?;
        self.offloading.settle_again(&mut self.tables, &config)?;
        for warning in fixed.into_iter().chain(plan.warnings.iter().map(String::as_str)) {
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
        // It is in force, whatever fails now.
        self.config = config;
        let settings = self.tables.settings();
        let written =
            settings.and_then(|settings| self.tables.set_settings(configured(&self.config, settings)));
        if let Err(error) = written {
            tracing::error!("the new timeouts are not in force, reload once more: {error:#}");
        }
        if !self.offloading.owes_ports() {
            self.say_hooks();
        }
        Ok(misplaced)
    }
}
