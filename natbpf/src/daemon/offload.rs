//! The daemon's part in offload: inside ports, the epoch, and what conntrack needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Result;
use natbpf_common::{Nanoseconds, config::Settings, offload::ticks};
use tokio::time::Instant;

use super::Daemon;
use crate::{
    config::{Config, DatapathConfig},
    datapath::{Attacher, EpochGauge, Pins, Role, Tables, attached},
    network::Snapshot,
    offload::{self, Reason, State},
    plan::Plan,
    watch::Watcher,
};

/// So long conntrack stays liberal after the end of offload: it has to see a packet of every flow that goes on.
const CATCH_UP: Duration = Duration::from_secs(10);

/// What the daemon knows of offload.
#[derive(Debug)]
pub struct Offloading {
    pub state: State,
    pub watcher: Watcher,
    /// When it was on for the last time, maybe under an earlier daemon, if it is off now.
    ended: Option<Instant>,
    /// Ports that could not be attached to, with the reason that the operator was told.
    left_out: BTreeMap<u32, String>,
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
        })
    }

    fn settled(&self, tables: &mut Tables, config: &Config) -> Result<State> {
        let in_use = self.state.is_on() || self.ended.is_some_and(|ended| ended.elapsed() < CATCH_UP);
        let mut settings = tables.settings()?;
        offload::settle(&config.datapath, &mut settings, in_use, |settings| tables.set_settings(settings))
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

    /// Says why a port is not attached to, once.
    fn leave_out(&mut self, interface: u32, name: &str, error: &anyhow::Error) {
        let reason = format!("{error:#}");
        if self.left_out.get(&interface) != Some(&reason) {
            tracing::warn!("the traffic of {name} is not offloaded: {reason}");
        }
        self.left_out.insert(interface, reason);
    }
}

impl Daemon {
    /// Attaches to the ports of the plan. One that cannot be had is no reason to give up the rest: its traffic takes its way through the
    /// kernel.
    pub(super) async fn attach_ports(&mut self, plan: &Plan, attacher: &Attacher) -> Result<()> {
        let known = attached(&self.options.pins)?;
        let mut table = plan.port_table();
        // What is gone gives its place first.
        self.tables.keep_ports(&table)?;
        self.tables.add_ports(&table)?;
        self.offloading.left_out.retain(|interface, _| table.contains_key(interface));
        for port in plan.ports.iter().filter(|port| !known.contains(&(port.interface, Role::Port))) {
            let (interface, name) = (port.interface, &*port.name);
            let mut attached = attacher.check_foreign(interface, name, Role::Port).await;
            if attached.is_ok() {
                attached = attacher.attach(&mut self.loaded, interface, name, Role::Port);
            }
            match attached {
                Ok(()) => {
                    self.offloading.left_out.remove(&interface);
                    tracing::info!("attached to {name}{}", Role::Port.purpose());
                }
                Err(error) => {
                    // Half of it may have succeeded.
                    attacher.detach(interface, Some(name), Role::Port).await?;
                    table.remove(&interface);
                    self.offloading.leave_out(interface, name, &error);
                }
            }
        }
        self.tables.keep_ports(&table)
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
        let concerned: Vec<_> = plan.ports.iter().filter(|port| changed.contains(&port.interface)).collect();
        if concerned.is_empty() {
            return Ok(());
        }
        for port in concerned {
            let (interface, name) = (port.interface, &*port.name);
            if attacher.check_foreign(interface, name, Role::Port).await.is_err() {
                attacher.detach(interface, Some(name), Role::Port).await?;
            }
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

/// The settings that the configuration decides.
pub fn configured(config: &Config, settings: Settings) -> Settings {
    Settings { timeouts: config.timeouts, revalidate: revalidate(&config.datapath), ..settings }
}

fn revalidate(config: &DatapathConfig) -> u32 {
    ticks(config.revalidate.as_nanos() as Nanoseconds)
}
