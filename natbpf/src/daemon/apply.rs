//! Making the datapath what a plan says. An interface that cannot be had is left out, and is no reason to
//! give up the others.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use natbpf_common::{
    IfIndex,
    contract::uplinks::{Uplink, Uplinks},
};
use tokio::sync::oneshot;

use super::{house::Outcome, state::Daemon};
use crate::{
    config::Config,
    datapath::{Attacher, Role, attached, complete},
    network::Snapshot,
    plan::{Missing, Place, Plan, plan_without, reverse},
};

/// What there is to be.
pub struct Wish<'a> {
    pub config: &'a Config,
    pub snapshot: &'a Snapshot,
    pub missing: Missing,
}

/// Comes, if something is to be ended, when the flows that lost their place have been ended.
pub type Answer = Option<oneshot::Receiver<Outcome>>;

impl Daemon {
    pub(super) fn propose(&self, wish: &Wish<'_>) -> Result<Plan> {
        let plan = plan_without(wish.config, wish.snapshot, wish.missing, &self.refusals.now)?;
        Ok(plan.with_offload(self.offloading.state.is_on()))
    }

    /// Makes the datapath what is wished for.
    pub(super) async fn apply(&mut self, wish: &Wish<'_>, attacher: &Attacher) -> Result<Answer> {
        // Before anything is changed: this is what fails most.
        let plan = self.possible(wish, attacher).await?;
        self.enforce(plan, wish, attacher).await
    }

    /// The same for a plan that is [`possible`](Self::possible).
    pub(super) async fn enforce(
        &mut self,
        mut plan: Plan,
        wish: &Wish<'_>,
        attacher: &Attacher,
    ) -> Result<Answer> {
        self.offloading.watcher.change();
        if !self.offloading.state.is_on() {
            // No reply goes straight to a port any more.
            self.offloading.switch().await?;
        }
        self.withdraw_ports(&plan).await?;
        // What is new is attached to before the tables have it, and does nothing as yet: what cannot be had
        // is not in them then.
        loop {
            self.withdraw_targets(&plan)?;
            self.detach_all_but(&plan, attacher).await?;
            if self.attach_new(&plan, attacher).await? {
                break;
            }
            plan = self.possible(wish, attacher).await?;
        }
        let uplinks: Vec<Uplink> = plan.uplinks.iter().map(|uplink| uplink.uplink).collect();
        let salt = self.tables.uplinks()?.salt;
        let arranged = Uplinks::arrange(&uplinks, salt).context("too many uplinks; 16 are the limit")?;
        self.tables.set_uplinks(arranged)?;
        let uplinks: Vec<_> = plan.uplinks.iter().map(|uplink| uplink.interface).collect();
        self.tables.set_uplink_edges(&uplinks)?;
        let same_places = self.in_force && plan.has_same_places(&self.plan);
        self.fill_tables(&plan)?;
        self.offloading.try_all_ports();
        self.attach_ports(&plan, attacher).await?;
        self.attach_xdp(&mut plan, wish.snapshot, attacher).await?;
        // What is done for it later leaves out what cannot be had, even if the operator named it.
        plan.missing = Missing::LeftOut;
        self.plan = plan;
        self.in_force = true;
        self.claimed.retain(|place| self.refusals.now.contains_key(place));
        self.offloading.switch().await?;
        let misplaced = (!same_places).then(|| self.house.evict(self.plan.placement()));
        self.say_left_out();
        self.announcer.update(self.plan.announced(wish.snapshot));
        self.announcer.tick();
        Ok(misplaced)
    }

    /// The plan of what nothing is known to stand in the way of.
    pub(super) async fn possible(&mut self, wish: &Wish<'_>, attacher: &Attacher) -> Result<Plan> {
        loop {
            let plan = self.propose(wish)?;
            let places = self.new_places(&plan)?;
            let mut refused = false;
            for place in &places {
                if !self.claimed.contains(&place.at)
                    && let Err(error) = attacher.check_foreign(place.at, place.name).await
                {
                    self.refuse(place, error)?;
                    refused = true;
                }
            }
            if refused {
                continue;
            }
            let room = self.tables.check_room(&plan.sources, &plan.destinations);
            let room = room.and_then(|()| {
                self.tables.check_room_to_serve(&plan.forwards, &reverse(&plan.forwards), &plan.externals)
            });
            let Err(error) = room else { return Ok(plan) };
            // Each uplink that a pattern matches needs room for all sources.
            let last = places.iter().rev().find(|place| place.at.1 == Role::Uplink && !place.strict);
            match last.filter(|_| self.started) {
                Some(place) => self.refuse(place, error)?,
                None => return Err(error),
            }
        }
    }

    /// Where programs are to be attached that are not there yet, but for ports.
    fn new_places<'a>(&self, plan: &'a Plan) -> Result<Vec<Place<'a>>> {
        let there = complete(&self.options.pins)?;
        Ok(plan.few().filter(|place| !there.contains(&place.at)).collect())
    }

    fn refuse(&mut self, place: &Place<'_>, error: anyhow::Error) -> Result<()> {
        if place.strict {
            return Err(error);
        }
        self.refusals.now.insert(place.at, format!("{error:#}"));
        Ok(())
    }

    /// False: some could not be attached to, and there has to be another plan.
    async fn attach_new(&mut self, plan: &Plan, attacher: &Attacher) -> Result<bool> {
        let mut all = true;
        for place in self.new_places(plan)? {
            match attacher.attach(&mut self.loaded, place.at, place.name).await {
                Ok(()) => tracing::info!("attached to {}{}", place.name, place.at.1.purpose()),
                Err(error) => {
                    // Half of it may have succeeded.
                    self.detach(&[place.at], attacher).await;
                    self.refusals.note_failure(place.at);
                    self.refuse(&place, error)?;
                    all = false;
                }
            }
        }
        Ok(all)
    }

    /// Ports have time, and go slice by slice, see [`Daemon::attach_ports`]; but where an uplink is to be, nothing
    /// else is before.
    async fn detach_all_but(&self, plan: &Plan, attacher: &Attacher) -> Result<()> {
        let wanted: BTreeSet<(IfIndex, Role)> = plan.places().map(|place| place.at).collect();
        let mut gone: Vec<(IfIndex, Role)> =
            attached(&self.options.pins)?.difference(&wanted).copied().collect();
        gone.retain(|(interface, role)| *role != Role::Port || wanted.contains(&(*interface, Role::Uplink)));
        // What sends packets to uplinks goes first.
        gone.sort_by_key(|(_, role)| std::cmp::Reverse(*role));
        self.detach(&gone, attacher).await;
        Ok(())
    }

    /// Writes what has changed.
    fn fill_tables(&mut self, plan: &Plan) -> Result<()> {
        let old = self.in_force.then_some(&self.plan);
        // Until all of it is done.
        self.in_force = false;
        let tables = &mut self.tables;
        if old.is_none_or(|old| plan.externals != old.externals) {
            tables.replace_externals(&plan.externals)?;
        }
        if old.is_none_or(|old| !plan.has_same_rules(old)) {
            let places = tables.place_pools(&plan.pools)?;
            let (sources, destinations) = plan.with_pools(&places);
            tables.replace_rules(&sources, &destinations)?;
        }
        if old.is_none_or(|old| plan.forwards != old.forwards) {
            tables.replace_reverse(&reverse(&plan.forwards))?;
            tables.replace_forwards(&plan.forwards)?;
        }
        Ok(())
    }

    /// Puts the programs just loaded in the place of those an earlier daemon attached.
    pub(super) async fn replace_programs(&mut self, attacher: &Attacher) -> Result<()> {
        let attached = attached(&self.options.pins)?;
        for place in self.plan.places().filter(|place| attached.contains(&place.at)) {
            match attacher.attach(&mut self.loaded, place.at, place.name).await {
                // What does not work by the old program any more is looked at by and by.
                Err(error) if place.at.1 == Role::Port => tracing::error!("{error:#}"),
                other => other?,
            }
        }
        Ok(())
    }
}
