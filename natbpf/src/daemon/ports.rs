//! Inside ports: what is attached to them, and what others have on the path that their packets take.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Result;
use natbpf_common::IfIndex;
use tokio::time::Instant;

use super::state::{Daemon, concerns};
use crate::{
    datapath::{Attacher, Role, attached, complete},
    network::Snapshot,
    offload::{Reason, State},
    plan::{Plan, PlannedPort},
};

/// So long ports are attached to, or detached from, at a stretch.
const SLICE: Duration = Duration::from_millis(50);

impl Daemon {
    /// Enters in the table what there is to be of the plan's ports. If programs are at others, nothing is repeated
    /// from now on until they are off.
    pub(super) async fn withdraw_ports(&mut self, plan: &Plan) -> Result<()> {
        let mut table = plan.port_table();
        for port in plan.ports.iter().filter(|port| self.others.obstacle(port, plan).is_some()) {
            table.remove(&port.interface);
        }
        self.tables.keep_ports(&table)?;
        if !self.offloading.paused && !self.superfluous()?.is_empty() {
            self.offloading.paused = true;
            self.offloading.switch().await?;
        }
        Ok(())
    }

    /// Ports that programs are at and are not to be at: whatever is in the table is.
    fn superfluous(&self) -> Result<Vec<IfIndex>> {
        let known = self.tables.ports()?;
        let ports = attached(&self.options.pins)?.into_iter().filter(|(_, role)| *role == Role::Port);
        Ok(ports.map(|(interface, _)| interface).filter(|interface| !known.contains_key(interface)).collect())
    }

    /// Takes the programs off those, until the time of a slice is over. False: there are more.
    async fn detach_superfluous(&mut self, until: Instant, attacher: &Attacher) -> Result<bool> {
        let superfluous = self.superfluous()?;
        if !superfluous.is_empty() {
            let mut pinned = attacher.pinned()?;
            for interface in &superfluous {
                if self.offloading.stuck.contains(interface) {
                    continue;
                }
                // One at least each time.
                if let Err(error) = attacher.detach(&mut pinned, *interface, Role::Port).await {
                    tracing::error!("{error:#}");
                    self.offloading.stuck.insert(*interface);
                }
                if self.started && Instant::now() > until {
                    return Ok(false);
                }
            }
        }
        if self.offloading.paused && !superfluous.iter().any(|port| self.offloading.stuck.contains(port)) {
            self.offloading.paused = false;
            self.offloading.switch().await?;
        }
        Ok(true)
    }

    /// Makes the ports what the plan says, for a while: of a thousand the rest waits until nothing else is to
    /// be done. One that cannot be had is no reason to give up the rest: its traffic takes its path through
    /// the kernel. True: there is a new one.
    pub(super) async fn attach_ports(&mut self, plan: &Plan, attacher: &Attacher) -> Result<bool> {
        self.offloading.owed = false;
        self.offloading.unfinished = true;
        self.look_for_others(plan, attacher).await;
        self.withdraw_ports(plan).await?;
        // What is gone gives its place first.
        self.offloading.owed = !self.detach_superfluous(Instant::now() + SLICE, attacher).await?;
        let known = complete(&self.options.pins)?;
        let before = self.tables.ports()?;
        let mut table = plan.port_table();
        table.retain(|interface, _| {
            before.contains_key(interface) && known.contains(&(*interface, Role::Port))
        });
        if self.tables.add_ports(&table)? {
            self.offloading.switch().await?;
        }
        let mut left_out = BTreeMap::new();
        let planned = |interface: &IfIndex| plan.ports.iter().any(|port| port.interface == *interface);
        self.offloading.left_out.retain(|interface, _| planned(interface));
        let mut new = false;
        // What came before takes its time, too, and one at least gets its turn.
        let (until, mut begun) = (Instant::now() + SLICE, false);
        for port in &plan.ports {
            let (interface, name) = (port.interface, &*port.name);
            if let Some(obstacle) = self.others.obstacle(port, plan) {
                left_out.insert(interface, (name, format!("{obstacle}; its packets are to pass there")));
                continue;
            }
            if table.contains_key(&interface) || self.offloading.tried.contains(&interface) {
                continue;
            }
            if begun && self.started && Instant::now() > until {
                self.offloading.owed = true;
                // Obstacles further on are known by now.
                continue;
            }
            begun = true;
            self.offloading.tried.insert(interface);
            match self.attach_port(port, attacher).await {
                Ok(()) => {
                    new = true;
                    self.offloading.left_out.remove(&interface);
                    tracing::info!("attached to {name}{}", Role::Port.purpose());
                }
                Err(error) => {
                    // Half of it may have succeeded.
                    self.detach(&[(interface, Role::Port)], attacher).await;
                    self.tables.remove_edge(interface);
                    left_out.insert(interface, (name, format!("{error:#}")));
                }
            }
        }
        // What was said of others that were tried before still is true.
        let before = std::mem::take(&mut self.offloading.left_out);
        self.offloading.leave_out(left_out, before);
        self.offloading.unfinished = false;
        Ok(new)
    }

    /// Goes on with it.
    pub(super) async fn attach_more_ports(&mut self, attacher: &Attacher) {
        let mut plan = std::mem::take(&mut self.plan);
        let attached = self.try_attach_more_ports(&mut plan, attacher).await;
        self.plan = plan;
        if let Err(error) = attached {
            tracing::error!("cannot attach to the inside ports: {error:#}");
        }
        if !self.offloading.owed {
            self.say_left_out();
            self.say_hooks();
        }
    }

    async fn try_attach_more_ports(&mut self, plan: &mut Plan, attacher: &Attacher) -> Result<()> {
        if self.attach_ports(plan, attacher).await? {
            self.offloading.watcher.change();
        }
        self.attach_xdp_at_last(plan, attacher).await
    }

    /// When all ports are as they are to be.
    async fn attach_xdp_at_last(&mut self, plan: &mut Plan, attacher: &Attacher) -> Result<()> {
        if self.offloading.owed {
            return Ok(());
        }
        self.offloading.unfinished = true;
        plan.choose_again();
        self.attach_xdp(plan, &Snapshot::default(), attacher).await?;
        self.offloading.unfinished = false;
        Ok(())
    }

    async fn attach_port(&mut self, port: &PlannedPort, attacher: &Attacher) -> Result<()> {
        let (interface, name) = (port.interface, &*port.name);
        attacher.check_foreign((interface, Role::Port), name).await?;
        self.tables.add_edge(interface, port.port)?;
        let attached = attacher.attach(&mut self.loaded, (interface, Role::Port), name).await;
        if attached.is_err() {
            self.refusals.note_failure((interface, Role::Port));
        }
        attached
    }

    /// Something has come to hooks, or gone from them. True: offload as a whole begins or ends with it.
    pub(super) async fn recheck_others(
        &mut self,
        changed: &BTreeSet<IfIndex>,
        attacher: &Attacher,
    ) -> Result<bool> {
        self.others.look(&self.plan, changed, attacher).await;
        let at_uplinks = self.others.at_uplinks(&self.plan);
        if self.offloading.others != at_uplinks {
            self.offloading.others = at_uplinks;
            return Ok(true);
        }
        self.recheck_ports(changed, attacher).await?;
        Ok(false)
    }

    /// Somebody's filters have come to interfaces, or gone from them: a port that has some is the kernel's from now on.
    async fn recheck_ports(&mut self, changed: &BTreeSet<IfIndex>, attacher: &Attacher) -> Result<()> {
        let mut plan = std::mem::take(&mut self.plan);
        let rechecked = self.try_recheck_ports(&mut plan, changed, attacher).await;
        self.plan = plan;
        rechecked
    }

    async fn try_recheck_ports(
        &mut self,
        plan: &mut Plan,
        changed: &BTreeSet<IfIndex>,
        attacher: &Attacher,
    ) -> Result<()> {
        let known = self.tables.ports()?;
        let mut news = false;
        let is_changed = |devices: &[(String, IfIndex)]| {
            devices.iter().any(|(_, interface)| concerns(changed, *interface))
        };
        let passed: Vec<bool> = plan.passed.iter().map(|devices| is_changed(devices)).collect();
        for port in &plan.ports {
            let (interface, name) = (port.interface, &*port.name);
            let between = is_changed(&port.between) || port.passed.iter().any(|group| passed[*group]);
            if !between && !concerns(changed, interface) {
                continue;
            }
            let there = known.contains_key(&interface);
            if !there && self.refusals.just_failed((interface, Role::Port)) {
                continue;
            }
            // What is attached to again is looked at before, and a thousand ports need not be because of
            // their bridge.
            let free = self.others.obstacle(port, plan).is_none()
                && (!concerns(changed, interface)
                    || attacher.check_foreign((interface, Role::Port), name).await.is_ok());
            if there && !free {
                self.tables.remove_edge(interface);
            }
            if there != free {
                // To be attached to, or to find words for why not.
                self.offloading.tried.remove(&interface);
            }
            news |= there != free;
        }
        // Most of it is what we have attached ourselves.
        if !news {
            return Ok(());
        }
        self.attach_ports(plan, attacher).await?;
        self.offloading.watcher.change();
        self.attach_xdp_at_last(plan, attacher).await
    }

    /// Looks at what is new in a plan, and has it watched.
    async fn look_for_others(&mut self, plan: &Plan, attacher: &Attacher) {
        // An uplink that has gone takes with it what was there. The next look around switches offload.
        self.offloading.others = self.others.find(plan, attacher).await;
        let state = &self.offloading.state;
        let possible = state.is_on() || matches!(state, State::Off(Reason::Others(_)));
        self.others.watch(plan, possible && !attacher.lives_with_others());
    }
}
