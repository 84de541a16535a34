//! Whether there is offload, and how far its ports are.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Result;
use natbpf_common::IfIndex;
use tokio::time::Instant;

use crate::{
    config::Config,
    daemon::random::secret,
    datapath::{EpochGauge, Note, Pins, Tables},
    network::Middle,
    offload::{self, Elsewhere, Reason, State},
    watch::Watcher,
};

/// So long conntrack stays liberal after the last path has run out: it is told of each connection that goes on
/// (`daemon::resting`).
const CATCH_UP: Duration = Duration::from_secs(10);

/// What the daemon knows of offload.
#[derive(Debug)]
pub struct Offloading {
    pub state: State,
    pub watcher: Watcher,
    /// Other namespaces that packets pass.
    pub middle: Vec<Middle>,
    elsewhere: Elsewhere,
    pins: Pins,
    /// When it was on for the last time, maybe under an earlier daemon, if it is off now.
    ended: Option<Instant>,
    /// Ports that could not be attached to, with the reason that the operator was told.
    pub left_out: BTreeMap<IfIndex, String>,
    /// What somebody else has at an uplink, in words.
    pub others: Option<String>,
    /// Ports that were tried since the last change.
    pub tried: BTreeSet<IfIndex>,
    /// Some were not tried yet, or are to be detached from still.
    pub owed: bool,
    /// Something has been begun that only enforcing the plan ends, or making the ports what they are to be, which
    /// may have failed.
    pub unfinished: bool,
    /// Nothing is repeated until the programs are off the ports where they are not to be: whatever somebody else
    /// has put there, or where their packets pass, sees each packet from now on, and taking them off takes its
    /// time.
    pub paused: bool,
    /// Ports that could not be detached from, since they were tried for the last time.
    pub stuck: BTreeSet<IfIndex>,
}

impl Offloading {
    /// Goes on from the epoch that is pinned; off until [`Offloading::settle`] says otherwise.
    pub fn new(pins: &Pins, tables: &Tables) -> Result<Self> {
        // Paths may be noted still from before it was switched off, nobody knows under which number: hardly
        // under this one.
        let any = secret()?[0] as u32;
        // That of an earlier daemon.
        Note::Namespaces.write(pins, None)?;
        Ok(Self {
            state: State::Off(Reason::Asked),
            watcher: Watcher::start(EpochGauge::open(pins)?, any)?,
            middle: Vec::new(),
            elsewhere: Elsewhere::new(Note::Liberal.read(pins).as_deref()),
            pins: pins.clone(),
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

    fn settled(&mut self, tables: &mut Tables, config: &Config) -> Result<State> {
        let in_use = self.state.is_on()
            || self.ended.is_some_and(|ended| ended.elapsed() < config.datapath.revalidate + CATCH_UP);
        let mut settings = tables.settings()?;
        let state = offload::settle(&config.datapath, &mut settings, in_use, |settings| {
            tables.set_settings(settings)
        })?;
        let pins = &self.pins;
        let elsewhere = self
            .elsewhere
            .settle(&self.middle, &config.datapath, in_use, |note| Note::Liberal.write(pins, note))?;
        let state = if state.is_on() { elsewhere } else { state };
        // conntrack stays as it is: they may be gone soon.
        Ok(match &self.others {
            Some(others) if state.is_on() => State::Off(Reason::Others(others.clone())),
            _ => state,
        })
    }

    /// Makes sure that conntrack is as offload needs it, and notes whether there can be offload with this
    /// configuration. True: that has changed.
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

    /// Other namespaces are passed from now on. True: they were others before.
    pub fn pass(&mut self, middle: &[Middle]) -> bool {
        let changed = self.middle != middle;
        if changed {
            self.middle = middle.to_vec();
            self.elsewhere.look_again();
            self.watcher.follow(middle);
        }
        changed
    }

    /// Something else is wanted of conntrack.
    pub fn look_again(&mut self) {
        self.elsewhere.look_again();
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

    /// Those that could not be had, too, may be had by now.
    pub fn try_all_ports(&mut self) {
        self.owed |= !self.left_out.is_empty() || self.paused;
        self.tried.clear();
        self.stuck.clear();
    }

    /// Says why ports are not attached to, once, and with one sentence for all that have the same reason.
    pub fn leave_out(&mut self, ports: BTreeMap<IfIndex, (&str, String)>, before: BTreeMap<IfIndex, String>) {
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
