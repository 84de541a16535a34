//! The daemon's part in offload: inside ports, the epoch, and what conntrack needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use natbpf_common::{Nanoseconds, contract::settings::Settings, time::ticks};
use tokio::time::Instant;

use super::{Daemon, others::concerns};
use crate::{
    config::{Config, DatapathConfig},
    datapath::{Attacher, EpochGauge, Pins, Role, Tables, attached, complete},
    network::{Snapshot, name_of},
    offload::{self, Reason, State},
    plan::{Plan, PlannedPort},
    watch::Watcher,
};

/// So long conntrack stays liberal after the end of offload: it has to see a packet of every flow that goes on.
const CATCH_UP: Duration = Duration::from_secs(10);

/// So long ports are attached to, or detached from, at a stretch.
const SLICE: Duration = Duration::from_millis(50);

/// What the daemon knows of offload.
#[derive(Debug)]
pub struct Offloading {
    pub state: State,
    pub watcher: Watcher,
    /// When it was on for the last time, maybe under an earlier daemon, if it is off now.
    ended: Option<Instant>,
    /// Ports that could not be attached to, with the reason that the operator was told.
    left_out: BTreeMap<u32, String>,
    /// What somebody else has at an uplink, in words.
    pub others: Option<String>,
    /// Ports that were tried since the last change.
    tried: BTreeSet<u32>,
    /// Some were not tried yet, or are to be detached from still.
    owed: bool,
    /// Something has been begun that only enforcing the plan ends, or making the ports what they are to be, which may have failed.
    unfinished: bool,
    /// Nothing is repeated until the programs are off the ports where they are not to be: whatever somebody else has put there, or where
    /// their packets pass, sees each packet from now on, and taking them off takes its time.
    paused: bool,
    /// Ports that could not be detached from, since they were tried for the last time.
    stuck: BTreeSet<u32>,
}

impl Offloading {
    /// Goes on from the epoch that is pinned; off until [`Offloading::settle`] says otherwise.
    pub fn new(pins: &Pins, tables: &Tables) -> Result<Self> {
        // Ways may be noted still from before it was switched off, nobody knows under which number: hardly under this one.
        let any = super::secret()?[0] as u16;
        Ok(Self {
            state: State::Off(Reason::Asked),
            watcher: Watcher::start(EpochGauge::open(pins)?, any)?,
            ended: (tables.epoch()? != 0).then(Instant::now),
            left_out: BTreeMap::new(),
            others: None,
            tried: BTreeSet::new(),
            owed: false,
            unfinished: false,
            paused: false,
            stuck: BTreeSet::new(),
        })
    }

    fn settled(&self, tables: &mut Tables, config: &Config) -> Result<State> {
        let in_use = self.state.is_on() || self.ended.is_some_and(|ended| ended.elapsed() < CATCH_UP);
        let mut settings = tables.settings()?;
        let state = offload::settle(&config.datapath, &mut settings, in_use, |settings| {
            tables.set_settings(settings)
        })?;
        // conntrack stays as it is: they may be gone soon.
        Ok(match &self.others {
            Some(others) if state.is_on() => State::Off(Reason::Others(others.clone())),
            _ => state,
        })
    }

    /// Makes sure that conntrack is as offload needs it, and notes whether there can be offload with this configuration. True: that
    /// has changed.
    pub fn settle(&mut self, tables: &mut Tables, config: &Config) -> Result<bool> {
        let state = self.settled(tables, config)?;
        if state == self.state {
            return Ok(false);
        }
        self.ended = self.state.is_on().then(Instant::now).or(self.ended).filter(|_| !state.is_on());
        self.state = state;
        self.watcher.change();
        Ok(true)
    }

    /// The same while traffic flows, when the operator wants to know.
    pub fn settle_again(&mut self, tables: &mut Tables, config: &Config) -> Result<bool> {
        let changed = self.settle(tables, config)?;
        match &self.state {
            _ if !changed => {}
            State::On => tracing::info!("offload is on"),
            State::Off(reason @ Reason::Asked) => tracing::info!("offload is off, {reason}"),
            State::Off(reason) => tracing::warn!("offload is off, {reason}"),
        }
        Ok(changed)
    }

    /// Tells the datapath whether packets are repeated now, and has every flow ask the kernel again, at once.
    pub async fn switch(&self) -> Result<()> {
        self.watcher.switch(self.state.is_on() && !self.paused).await
    }

    /// Whether ports wait to be attached to or detached from.
    pub const fn owes_ports(&self) -> bool {
        self.owed
    }

    /// Whether it is to be begun again.
    pub const fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// Those that could not be had, too, may be had by now.
    pub fn try_all_ports(&mut self) {
        self.owed |= !self.left_out.is_empty() || self.paused;
        self.tried.clear();
        self.stuck.clear();
    }

    /// Why a port is not attached to.
    pub fn reason_against(&self, interface: u32) -> Option<&str> {
        self.left_out.get(&interface).map(String::as_str)
    }

    /// Says why ports are not attached to, once, and with one sentence for all that have the same reason.
    fn leave_out(&mut self, ports: BTreeMap<u32, (&str, String)>, before: BTreeMap<u32, String>) {
        let mut news: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (interface, (name, reason)) in &ports {
            if before.get(interface) != Some(reason) {
                news.entry(reason).or_default().push(name);
            }
        }
        for (reason, names) in news {
            let names = match &names[..] {
                [first, second, third, _, ..] => {
                    let others = if names.len() > 4 { "others" } else { "other" };
                    format!("{first}, {second}, {third} and {} {others}", names.len() - 3)
                }
                _ => names.join(", "),
            };
            tracing::warn!("the traffic of {names} is not offloaded: {reason}");
        }
        self.left_out = before;
        self.left_out.extend(ports.into_iter().map(|(interface, (_, reason))| (interface, reason)));
    }
}

impl Daemon {
    /// Enters in the table what there is to be of the plan's ports. If programs are at others, nothing is repeated from now on until they are
    /// off.
    pub(super) async fn withdraw_ports(&mut self, plan: &Plan) -> Result<()> {
        let mut table = plan.port_table();
        for port in plan.ports.iter().filter(|port| self.others.obstacle(port).is_some()) {
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
    fn superfluous(&self) -> Result<Vec<u32>> {
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
                let name = name_of(*interface);
                if let Err(error) =
                    attacher.detach(&mut pinned, *interface, name.as_deref(), Role::Port).await
                {
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

    /// Makes the ports what the plan says, for a while: of a thousand the rest waits until nothing else is to be done. One that
    /// cannot be had is no reason to give up the rest: its traffic takes its way through the kernel. True: there is a new one.
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
        self.tables.add_ports(&table)?;
        let mut left_out = BTreeMap::new();
        self.offloading
            .left_out
            .retain(|interface, _| plan.ports.iter().any(|port| port.interface == *interface));
        let mut new = false;
        // What came before takes its time, too, and one at least gets its turn.
        let (until, mut begun) = (Instant::now() + SLICE, false);
        for port in &plan.ports {
            let (interface, name) = (port.interface, &*port.name);
            if let Some(obstacle) = self.others.obstacle(port) {
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
                    self.detach(&[(interface, Role::Port)], name_of, attacher).await;
                    self.tables.remove_port(interface);
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
        attacher.check_foreign(interface, name, Role::Port).await?;
        self.tables.add_port(interface, port.port)?;
        let attached = attacher.attach(&mut self.loaded, interface, name, Role::Port).await;
        if attached.is_err() {
            self.refusals.note_failure(interface, Role::Port);
        }
        attached
    }

    /// Somebody's filters have come to interfaces, or gone from them: a port that has some is the kernel's from now on.
    pub(super) async fn recheck_ports(&mut self, changed: &BTreeSet<u32>, attacher: &Attacher) -> Result<()> {
        let mut plan = std::mem::take(&mut self.plan);
        let rechecked = self.try_recheck_ports(&mut plan, changed, attacher).await;
        self.plan = plan;
        rechecked
    }

    async fn try_recheck_ports(
        &mut self,
        plan: &mut Plan,
        changed: &BTreeSet<u32>,
        attacher: &Attacher,
    ) -> Result<()> {
        let known = self.tables.ports()?;
        let mut news = false;
        for port in &plan.ports {
            let (interface, name) = (port.interface, &*port.name);
            let between = port.between.iter().any(|(_, interface)| concerns(changed, *interface));
            if !between && !concerns(changed, interface) {
                continue;
            }
            let there = known.contains_key(&interface);
            if !there && self.refusals.just_failed(interface, Role::Port) {
                continue;
            }
            // Whoever is attached to again is looked at before, and a thousand ports need not be because of their bridge.
            let free = self.others.obstacle(port).is_none()
                && (!concerns(changed, interface)
                    || attacher.check_foreign(interface, name, Role::Port).await.is_ok());
            if there && !free {
                self.tables.remove_port(interface);
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

    /// Sees to conntrack. If there is no offload any more, nothing is repeated from now on: all else takes its time, or fails.
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

    /// `offload on 3 ports`
    pub(super) fn describe_offload(&self) -> String {
        match &self.offloading.state {
            State::On => match self.plan.ports.len() - self.offloading.left_out.len() {
                1 => "offload on 1 port".to_owned(),
                count => format!("offload on {count} ports"),
            },
            State::Off(reason) => format!("offload off, {reason}"),
        }
    }
}

/// Of the flow table one part in so many may be reservations for the host's own pings and protocols without ports.
const HOST_SHARE: u32 = 16;

/// The settings that the configuration decides.
pub fn configured(config: &Config, settings: Settings) -> Settings {
    Settings {
        timeouts: config.timeouts,
        revalidate: revalidate(&config.datapath),
        host_share: config.datapath.max_flows / HOST_SHARE,
        ..settings
    }
}

fn revalidate(config: &DatapathConfig) -> u32 {
    ticks(config.revalidate.as_nanos() as Nanoseconds)
}
