//! Following changes of the interfaces, their addresses and routes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Result;
use natbpf_common::IfIndex;
use tokio::time::Instant;

use super::{apply::Wish, look::look, state::Daemon};
use crate::{
    datapath::{Attacher, Role},
    network::{ANYWHERE, Change, Network},
    plan::Missing,
};

/// After following changes so many times as long as that took nothing is followed: something that changes an
/// interface all the time, as a container can its end of a veth, is not to have all the time.
const SHARE: u32 = 4;

/// At most, or as long as it took: nothing waits long for an address, and all the rest gets half of the time.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Looking at routes because of changes among them takes at most one part of so many of the time.
const ROUTES_SHARE: u32 = 20;

impl Daemon {
    /// What nobody tells of, and what could not be done before.
    pub(super) async fn look_around(&mut self, network: &Network, attacher: &Attacher) {
        self.announcer.tick();
        self.recheck_targets();
        let lost = self.look_at_kernel(attacher).await;
        self.filters_changed.append(&mut self.filters_failed);
        self.filters_changed.append(&mut self.others.unseen);
        let routes_due = self.routes_due <= Instant::now();
        let again = self.failure.is_some()
            || !self.in_force
            || self.routes_changed
            || self.offloading.unfinished
            || self.rota.is_over() && !self.refusals.now.is_empty()
            || self.is_incomplete().unwrap_or(true);
        self.interfaces_changed |= self.config.passes_namespaces() && self.surroundings.is_due();
        if lost {
            // It is told of once a second at most, and packets leave untranslated meanwhile.
            self.due = Instant::now();
        }
        if self.recheck_offload().await || lost || again && routes_due {
            self.follow(&Change::anything(), network, attacher).await;
        }
    }

    /// Follows a change of the interfaces or their addresses. What fails is tried again by and by. Row M09.
    pub(super) async fn follow(&mut self, change: &Change, network: &Network, attacher: &Attacher) {
        self.forget_removed(change, attacher).await;
        self.filters_changed.extend(&change.filters);
        self.interfaces_changed |= change.interfaces;
        // In bursts, on some routers: the next look around is early enough.
        self.routes_changed |= change.routes;
        if let Err(error) = self.try_follow(network, attacher).await {
            let failure = Some(format!("{error:#}"));
            if self.failure != failure {
                tracing::error!("cannot follow a change of the interfaces, and tries again: {error:#}");
            }
            self.failure = failure;
        }
    }

    /// An interface that has the number of one that is gone has none of its programs.
    async fn forget_removed(&mut self, change: &Change, attacher: &Attacher) {
        let ours = self.plan.places().map(|place| place.at);
        let removed: Vec<(IfIndex, Role)> =
            ours.filter(|(index, _)| change.removed.contains(index)).collect();
        if !removed.is_empty() {
            self.gone = true;
            self.detach(&removed, attacher).await;
        }
        self.xdp.forget(&change.removed);
        self.refusals.forget_removed(&change.removed);
        self.claimed.retain(|(interface, _)| !change.removed.contains(interface));
    }

    /// Follows what has changed, when it is due: a stream of changes of one kind puts off none of another.
    async fn try_follow(&mut self, network: &Network, attacher: &Attacher) -> Result<()> {
        let started = Instant::now();
        if !self.has_changes() || self.due > started {
            return Ok(());
        }
        self.follow_filters(attacher).await;
        let followed = match self.interfaces_changed {
            true => self.follow_interfaces(network, attacher).await,
            false => Ok(()),
        };
        let took = started.elapsed();
        self.due = Instant::now() + (took * SHARE).min(LONGEST_PAUSE.max(took));
        followed
    }

    /// Whether something waits to be followed.
    pub(super) fn has_changes(&self) -> bool {
        self.interfaces_changed || !self.filters_changed.is_empty()
    }

    /// Filters and qdiscs have come or gone: the plan has to be looked at, if that matters. What fails is tried
    /// again at the next look around.
    async fn follow_filters(&mut self, attacher: &Attacher) {
        let changed = std::mem::take(&mut self.filters_changed);
        if changed.is_empty() {
            return;
        }
        // If nobody knows where, ports have their turn, of which there may be a thousand.
        let anywhere = changed.contains(&ANYWHERE);
        let few = self.few();
        let here = |interface| changed.contains(&interface) || anywhere && few.contains(&interface);
        self.interfaces_changed |= self.find_lost(attacher, here).await || self.refusals.concern(&changed);
        match self.follow_others(&changed, attacher).await {
            Ok(decisive) => {
                self.interfaces_changed |= decisive;
                self.filters_failure = None;
            }
            Err(error) => {
                let failure = Some(format!("{error:#}"));
                if self.filters_failure != failure {
                    tracing::error!("cannot follow a change of filters, and tries again: {error:#}");
                }
                self.filters_failure = failure;
                self.filters_failed.extend(changed);
            }
        }
    }

    /// True: offload as a whole begins or ends.
    async fn follow_others(&mut self, changed: &BTreeSet<IfIndex>, attacher: &Attacher) -> Result<bool> {
        let decisive = self.recheck_others(changed, attacher).await?;
        if decisive {
            let config = Arc::clone(&self.config);
            self.settle_again(&config).await?;
        }
        Ok(decisive)
    }

    async fn follow_interfaces(&mut self, network: &Network, attacher: &Attacher) -> Result<()> {
        self.routes_changed = false;
        self.interfaces_changed = false;
        self.refusals.forget();
        let started = Instant::now();
        let snapshot = look(network, &self.config, &mut self.leases, &mut self.surroundings).await?;
        // Where there are as many routes as in the Internet, they change all the time.
        self.routes_due = Instant::now() + started.elapsed() * ROUTES_SHARE;
        self.notices.follow(&snapshot);
        let config = Arc::clone(&self.config);
        self.pass_namespaces(&snapshot.namespaces);
        self.say_edges(&snapshot);
        self.settle_again(&config).await?;
        let wish = Wish { config: &config, snapshot: &snapshot, missing: Missing::LeftOut };
        let plan = self.possible(&wish, attacher).await?;
        let claims = plan.places().any(|place| self.claimed.contains(&place.at));
        let incomplete =
            self.gone || claims || !self.in_force || self.offloading.unfinished || self.is_incomplete()?;
        if plan.is_same(&self.plan) && !incomplete {
            self.plan.left_out = plan.left_out;
            self.say_left_out();
            // A link may have come back.
            self.announcer.update(self.plan.announced(&snapshot));
            self.failure = None;
            return Ok(());
        }
        let (warnings, uplinks) = (self.plan.warnings.clone(), self.plan.uplinks.clone());
        self.enforce(plan, &wish, attacher).await?;
        self.gone = false;
        // Ports come and go by the minute on some hosts; what was said need not be said again.
        for warning in self.plan.warnings.iter().filter(|warning| !warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        for uplink in self.plan.uplinks.iter().filter(|uplink| !uplinks.contains(uplink)) {
            tracing::info!("{uplink}");
        }
        if !self.offloading.owed {
            self.say_hooks();
        }
        self.failure = None;
        Ok(())
    }
}
