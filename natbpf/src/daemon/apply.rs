//! Making the datapath what a plan says. An interface that cannot be had is left out, and is no reason to give up the others.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use natbpf_common::config::{Uplink, Uplinks};
use tokio::sync::oneshot;

use super::Daemon;
use crate::{
    config::Config,
    datapath::{Attacher, Role, attached, complete, write_note},
    network::Snapshot,
    plan::{Missing, Plan, Refused, plan_without, reverse},
    status::LeftOutStatus,
};

/// What there is to be.
pub struct Wish<'a> {
    pub config: &'a Config,
    pub snapshot: &'a Snapshot,
    pub missing: Missing,
}

/// Interfaces that could not be had.
#[derive(Debug, Default)]
pub struct Refusals {
    now: Refused,
    /// What the operator was told, by name and role.
    said: BTreeMap<(String, Role), String>,
}

impl Refusals {
    /// All of them are tried again.
    pub fn forget(&mut self) {
        self.now.clear();
    }

    pub fn any(&self) -> bool {
        !self.now.is_empty()
    }

    pub fn concern(&self, interfaces: &BTreeSet<u32>) -> bool {
        self.now.keys().any(|(interface, _)| interfaces.contains(interface))
    }
}

/// Where a program is to be attached.
struct Place {
    interface: u32,
    name: String,
    role: Role,
    /// Not to be had is a mistake, see [`Missing`].
    strict: bool,
}

impl Daemon {
    pub(super) fn propose(&self, wish: &Wish<'_>) -> Result<Plan> {
        let plan = plan_without(wish.config, wish.snapshot, wish.missing, &self.refusals.now)?;
        Ok(plan.with_offload(self.offloading.state.is_on()))
    }

    /// Makes the datapath what is wished for. The answer, if there is one, comes when the flows that lost their place have been ended.
    pub(super) async fn apply(
        &mut self,
        wish: &Wish<'_>,
        attacher: &Attacher,
    ) -> Result<Option<oneshot::Receiver<()>>> {
        // Before anything is changed: this is what fails most.
        let mut plan = self.possible(wish, attacher).await?;
        self.offloading.watcher.change();
        if !self.offloading.state.is_on() {
            // No reply goes straight to a port any more.
            self.offloading.watcher.switch(false).await?;
        }
        // What is new is attached to before the tables have it, and does nothing as yet: what cannot be had is not in them then.
        loop {
            self.withdraw_targets(&plan)?;
            self.detach_all_but(&plan, wish.snapshot, attacher).await?;
            if self.attach_new(&plan, attacher).await? {
                break;
            }
            plan = self.possible(wish, attacher).await?;
        }
        let uplinks: Vec<Uplink> = plan.uplinks.iter().map(|uplink| uplink.uplink).collect();
        let salt = self.tables.uplinks()?.salt;
        let arranged = Uplinks::arrange(&uplinks, salt).context("too many uplinks; 16 are the limit")?;
        self.tables.set_uplinks(arranged)?;
        let same_places = self.in_force && plan.has_same_places(&self.plan);
        self.fill_tables(&plan)?;
        self.offloading.try_all_ports();
        self.attach_ports(&plan, attacher).await?;
        self.attach_xdp(&mut plan, wish.snapshot, attacher).await?;
        self.plan = plan;
        self.in_force = true;
        self.offloading.watcher.switch(self.offloading.state.is_on()).await?;
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
                if let Err(error) = attacher.check_foreign(place.interface, &place.name, place.role).await {
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
            let last = places.iter().rev().find(|place| place.role == Role::Uplink && !place.strict);
            match last.filter(|_| self.in_force) {
                Some(place) => self.refuse(place, error)?,
                None => return Err(error),
            }
        }
    }

    /// Where programs are to be attached that are not there yet, but for ports.
    fn new_places(&self, plan: &Plan) -> Result<Vec<Place>> {
        let there = complete(&self.options.pins)?;
        let strict = plan.missing == Missing::Refused;
        let uplinks = plan.uplinks.iter();
        let uplinks = uplinks.map(|uplink| (uplink.interface, &uplink.name, Role::Uplink, uplink.named));
        let inside = plan.inside.iter();
        let inside = inside.map(|inside| (inside.interface, &inside.name, Role::Inside, inside.named));
        let new =
            uplinks.chain(inside).filter(|(interface, _, role, _)| !there.contains(&(*interface, *role)));
        let place = |(interface, name, role, named): (u32, &String, Role, bool)| Place {
            interface,
            name: name.clone(),
            role,
            strict: strict && named,
        };
        Ok(new.map(place).collect())
    }

    fn refuse(&mut self, place: &Place, error: anyhow::Error) -> Result<()> {
        if place.strict {
            return Err(error);
        }
        self.refusals.now.insert((place.interface, place.role), format!("{error:#}"));
        Ok(())
    }

    /// False: some could not be attached to, and there has to be another plan.
    async fn attach_new(&mut self, plan: &Plan, attacher: &Attacher) -> Result<bool> {
        let mut all = true;
        for place in self.new_places(plan)? {
            match attacher.attach(&mut self.loaded, place.interface, &place.name, place.role).await {
                Ok(()) => tracing::info!("attached to {}{}", place.name, place.role.purpose()),
                Err(error) => {
                    // Half of it may have succeeded.
                    self.detach(place.interface, Some(&place.name), place.role, attacher).await;
                    self.refuse(&place, error)?;
                    all = false;
                }
            }
        }
        Ok(all)
    }

    async fn detach_all_but(&self, plan: &Plan, snapshot: &Snapshot, attacher: &Attacher) -> Result<()> {
        let wanted: BTreeSet<(u32, Role)> =
            plan.interfaces().map(|(interface, _, role)| (interface, role)).collect();
        let mut gone: Vec<(u32, Role)> = attached(&self.options.pins)?.difference(&wanted).copied().collect();
        // What sends packets to uplinks goes first.
        gone.sort_by_key(|(_, role)| std::cmp::Reverse(*role));
        for (interface, role) in gone {
            self.detach(interface, snapshot.existing_name(interface).as_deref(), role, attacher).await;
        }
        Ok(())
    }

    /// Takes programs off. What does not succeed is tried again at the next change.
    pub(super) async fn detach(&self, interface: u32, name: Option<&str>, role: Role, attacher: &Attacher) {
        if let Err(error) = attacher.detach(interface, name, role).await {
            tracing::error!("{error:#}");
        }
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
        if self.adopted {
            let attached = attached(&self.options.pins)?;
            let ours = self.plan.interfaces().filter(|place| attached.contains(&(place.0, place.2)));
            for (interface, name, role) in ours {
                match attacher.attach(&mut self.loaded, interface, name, role).await {
                    // What does not work by the old program any more is looked at by and by.
                    Err(error) if role == Role::Port => tracing::error!("{error:#}"),
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// Tells the operator what is left out, once, and `natbpf status` always.
    pub(super) fn say_left_out(&mut self) {
        let mut said = BTreeMap::new();
        for left in &self.plan.left_out {
            let key = (left.name.clone(), left.role);
            if self.refusals.said.get(&key) != Some(&left.reason) {
                let role = left.role.purpose();
                tracing::warn!("{} is left out{role}, and the rest goes on: {}", left.name, left.reason);
            }
            said.insert(key, left.reason.clone());
        }
        self.refusals.said = said;
        let left_out = self.plan.left_out.iter().map(|left| (&*left.name, left.role, &*left.reason));
        let ports = self.plan.ports.iter();
        let ports = ports.filter_map(|port| {
            let reason = self.offloading.reason_against(port.interface)?;
            Some((&*port.name, Role::Port, reason))
        });
        let note: Vec<LeftOutStatus> = left_out
            .chain(ports)
            .map(|(name, role, reason)| LeftOutStatus::new(name, role, reason))
            .collect();
        if let Err(error) = write_note(&self.options.pins, LeftOutStatus::to_note(&note).as_deref()) {
            tracing::warn!("{error:#}");
        }
    }
}
