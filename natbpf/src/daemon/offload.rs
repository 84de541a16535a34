//! The daemon's part in offload: inside ports, the epoch, and what conntrack needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Result, anyhow};
use natbpf_common::{Nanoseconds, config::Settings, offload::ticks};
use tokio::time::Instant;

use super::{Daemon, others::concerns};
use crate::{
    config::{Config, DatapathConfig},
    datapath::{Attacher, EpochGauge, Pins, Role, Tables, attached, complete},
    network::Snapshot,
    offload::{self, Reason, State},
    plan::{Plan, PlannedPort},
    watch::Watcher,
};

/// So long conntrack stays liberal after the end of offload: it has to see a packet of every flow that goes on.
const CATCH_UP: Duration = Duration::from_secs(10);

/// So long ports are attached to at a stretch.
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
    /// Some were not tried yet.
    owed: bool,
    /// Other things are to be done meanwhile. Not so at the start, which waits for all.
    pub in_slices: bool,
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
            in_slices: false,
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

    /// Whether ports wait to be attached to.
    pub const fn owes_ports(&self) -> bool {
        self.owed
    }

    /// Those that could not be had, too, may be had by now.
    pub fn try_all_ports(&mut self) {
        self.owed |= !self.left_out.is_empty();
        self.tried.clear();
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
                    format!("{first}, {second}, {third} and {} others", names.len() - 3)
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
    /// Attaches to ports of the plan, for a while: of a thousand new ones the rest waits until nothing else is to be done. One that
    /// cannot be had is no reason to give up the rest: its traffic takes its way through the kernel. True: there is a new one.
    pub(super) async fn attach_ports(&mut self, plan: &Plan, attacher: &Attacher) -> Result<bool> {
        let known = complete(&self.options.pins)?;
        let mut table = plan.port_table();
        self.look_for_others(plan, attacher).await;
        // What is gone gives its place first.
        self.tables.keep_ports(&table)?;
        table.retain(|interface, _| known.contains(&(*interface, Role::Port)));
        self.tables.add_ports(&table)?;
        let started = Instant::now();
        let mut left_out = BTreeMap::new();
        self.offloading
            .left_out
            .retain(|interface, _| plan.ports.iter().any(|port| port.interface == *interface));
        self.offloading.owed = false;
        let mut new = false;
        for port in &plan.ports {
            let (interface, name) = (port.interface, &*port.name);
            let there = known.contains(&(interface, Role::Port));
            let attached = match self.others.obstacle(port) {
                Some(obstacle) => Err(anyhow!("{obstacle}; its packets are to pass there")),
                None if there || self.offloading.tried.contains(&interface) => continue,
                None if self.offloading.in_slices && started.elapsed() > SLICE => {
                    self.offloading.owed = true;
                    break;
                }
                None => {
                    self.offloading.tried.insert(interface);
                    self.attach_port(port, attacher).await
                }
            };
            match attached {
                Ok(()) => {
                    new = true;
                    self.offloading.left_out.remove(&interface);
                    tracing::info!("attached to {name}{}", Role::Port.purpose());
                }
                Err(error) => {
                    // Half of it may have succeeded.
                    if there || self.offloading.tried.contains(&interface) {
                        self.detach(interface, Some(name), Role::Port, attacher).await;
                    }
                    self.tables.remove_port(interface);
                    left_out.insert(interface, (name, format!("{error:#}")));
                }
            }
        }
        // What was said of others that were tried before still is true.
        let before = std::mem::take(&mut self.offloading.left_out);
        self.offloading.leave_out(left_out, before);
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
        let new = self.attach_ports(plan, attacher).await?;
        if !self.offloading.owed {
            plan.choose_again();
            self.attach_xdp(plan, &Snapshot::default(), attacher).await?;
        }
        if new {
            self.offloading.watcher.change();
        }
        Ok(())
    }

    async fn attach_port(&mut self, port: &PlannedPort, attacher: &Attacher) -> Result<()> {
        let (interface, name) = (port.interface, &*port.name);
        attacher.check_foreign(interface, name, Role::Port).await?;
        self.tables.add_port(interface, port.port)?;
        attacher.attach(&mut self.loaded, interface, name, Role::Port).await
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
        let known = attached(&self.options.pins)?;
        let mut news = false;
        for port in &plan.ports {
            let (interface, name) = (port.interface, &*port.name);
            let between = port.between.iter().any(|(_, interface)| concerns(changed, *interface));
            if !between && !concerns(changed, interface) {
                continue;
            }
            let free = self.others.obstacle(port).is_none()
                && attacher.check_foreign(interface, name, Role::Port).await.is_ok();
            let there = known.contains(&(interface, Role::Port));
            if there && !free {
                self.detach(interface, Some(name), Role::Port, attacher).await;
            }
            if free {
                self.offloading.tried.remove(&interface);
            }
            news |= there != free;
        }
        // Most of it is what we have attached ourselves.
        if !news {
            return Ok(());
        }
        self.attach_ports(plan, attacher).await?;
        plan.choose_again();
        self.attach_xdp(plan, &Snapshot::default(), attacher).await?;
        self.offloading.watcher.change();
        Ok(())
    }

    /// Whether what conntrack does asks for another plan.
    pub(super) fn recheck_offload(&mut self) -> bool {
        match self.offloading.settle_again(&mut self.tables, &self.config) {
            Ok(changed) => changed,
            Err(error) => {
                tracing::error!("cannot see to conntrack: {error:#}");
                false
            }
        }
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
