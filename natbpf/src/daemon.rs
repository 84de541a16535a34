//! The daemon: attaches, follows the interfaces and the configuration, and keeps house. Traffic needs it for
//! none of its packets.

use std::{collections::BTreeSet, fs::File, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use natbpf_common::{
    config::{Settings, Uplink, Uplinks},
    counter::{Counter, Counters},
};
use nix::fcntl::Flock;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use crate::{
    cli::DatapathArgs,
    config::Config,
    datapath::{Attacher, Loaded, Pins, Reaper, Sizes, Tables, attached_interfaces, attachments},
    gc, netns,
    network::{Change, Network, Snapshot},
    plan::{Plan, PlannedUplink, plan},
    preflight,
};

/// Between two rounds of housekeeping while the table is nearly full.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Of so many of these one is used while it is not.
const LEISURE: u32 = 5;

/// Between two looks at the counters of drops.
const WATCH: Duration = Duration::from_secs(10);

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file, which is read again on SIGHUP.
    File(PathBuf, DatapathArgs),
    /// The command line.
    Arguments(Config),
}

impl Source {
    fn read(&self) -> Result<Config> {
        match self {
            Self::File(path, arguments) => {
                let mut config = Config::from_file(path)?;
                config.datapath.apply(arguments);
                Ok(config)
            }
            Self::Arguments(config) => Ok(config.clone()),
        }
    }
}

/// What the daemon is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    pub pins: Pins,
    pub bpffs: PathBuf,
    pub instance: String,
    pub source: Source,
    /// Leave the datapath in place at the end.
    pub stay: bool,
}

/// Runs until a signal ends it.
pub async fn run(options: Options) -> Result<()> {
    // Before anything is changed: from here on no signal ends the program half way.
    let mut end = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut reload = signal(SignalKind::hangup())?;
    preflight::check(&options.bpffs)?;
    let config = options.source.read()?;
    let Some(lock) = options.pins.lock()? else {
        bail!(
            "another natbpf runs as instance {}; end it first, or choose another --instance",
            options.instance
        );
    };
    let fresh = options.pins.list_all_versions().context("cannot list what is pinned")?.is_empty();
    let network = Network::open()?;
    let attacher = Attacher::new(options.pins.clone(), config.datapath.attach, config.datapath.coexist)?;
    // Before the first look at the interfaces, so that no change falls between.
    let mut changes = network.changes()?;
    let started = start(&options, config, &network, &attacher, lock).await;
    let mut daemon = match started {
        Ok(daemon) => daemon,
        Err(error) => {
            if fresh {
                let snapshot = network.snapshot().await.unwrap_or_default();
                let detached = attacher.detach_all(|interface| snapshot.existing_name(interface)).await;
                detached.context(format!("{error:#}; and then"))?;
            }
            return Err(error);
        }
    };
    daemon.announce()?;
    let mut housekeeping = interval(HOUSEKEEPING);
    housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = interval(WATCH);
    loop {
        tokio::select! {
            _ = end.recv() => break,
            _ = interrupt.recv() => break,
            _ = reload.recv() => daemon.reload(&network, &attacher).await,
            change = changes.next() => daemon.follow(&change?, &network, &attacher).await,
            _ = housekeeping.tick() => daemon.keep_house(),
            _ = watch.tick() => daemon.report_drops(),
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    if options.stay {
        tracing::info!("the datapath stays; `natbpf detach` removes it, and the next start takes it over");
        return Ok(());
    }
    let snapshot = network.snapshot().await?;
    attacher.detach_all(|interface| snapshot.existing_name(interface)).await
}

/// A running daemon.
struct Daemon {
    options: Options,
    config: Config,
    loaded: Loaded,
    tables: Tables,
    reaper: Reaper,
    plan: Plan,
    adopted: bool,
    counters: Counters,
    /// Moments for housekeeping that were not used.
    skipped: u32,
    /// The table is nearly full.
    crowded: bool,
    _lock: Flock<File>,
}

/// From nothing, or from what an earlier daemon has left, to a datapath that translates.
async fn start(
    options: &Options,
    config: Config,
    network: &Network,
    attacher: &Attacher,
    lock: Flock<File>,
) -> Result<Daemon> {
    let snapshot = network.snapshot().await?;
    let plan = plan(&config, &snapshot)?;
    if let [name, ..] = plan.without_address()[..] {
        bail!(
            "{name} has no IPv4 address to translate to, and no other interface has one to lend; \
             give it one with: ip address add ADDRESS/LENGTH dev {name}"
        );
    }
    for uplink in &plan.uplinks {
        attacher.check_foreign(uplink.interface, &uplink.name).await?;
    }
    let adopted = options.pins.exist();
    let cookie = netns::cookie()?;
    let sizes = Sizes::of(config.datapath.max_flows);
    let mut loaded = Loaded::load(&options.pins, sizes)?;
    // Not before: an earlier start may have been killed when it had not pinned everything yet.
    let mut tables = Tables::open(&options.pins)?;
    if adopted {
        check_namespace(&tables, &options.instance, cookie)?;
    }
    loaded.pin_reaper(&options.pins)?;
    loaded.follow_log()?;
    if tables.max_entries()? != u64::from(sizes.entries) {
        tracing::warn!(
            "the flow table keeps its size of {} flows, for the flows in it; max_flows = {} counts after `natbpf detach`",
            tables.max_entries()? / 2,
            config.datapath.max_flows
        );
    }
    let mut settings = tables.settings()?;
    if settings.secret == [0; 2] {
        settings.secret = secret()?;
    }
    tables.set_settings(Settings { timeouts: config.timeouts, netns: cookie, ..settings })?;
    let reaper = Reaper::open(&options.pins)?;
    let counters = tables.counters()?;
    let mut daemon = Daemon {
        options: options.clone(),
        config,
        loaded,
        tables,
        reaper,
        plan: Plan::default(),
        adopted,
        counters,
        skipped: 0,
        crowded: false,
        _lock: lock,
    };
    daemon.apply(plan, &snapshot, attacher).await?;
    daemon.replace_programs(attacher)?;
    for warning in preflight::warnings().iter().chain(&daemon.plan.warnings) {
        tracing::warn!("{warning}");
    }
    Ok(daemon)
}

/// State of another namespace that has gone, or still is there, must not be taken for this one's.
fn check_namespace(tables: &Tables, instance: &str, cookie: u64) -> Result<()> {
    let owner = tables.settings()?.netns;
    if owner != 0 && owner != cookie {
        bail!(
            "the state pinned as instance {instance} belongs to another network namespace; \
             choose another --instance, or remove it with `natbpf detach --instance {instance}`"
        );
    }
    Ok(())
}

fn secret() -> Result<[u64; 2]> {
    let mut bytes = [0u8; 16];
    // SAFETY: the buffer is as long as said.
    let length = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if length != 16 {
        return Err(std::io::Error::last_os_error()).context("cannot get random bytes");
    }
    let (low, high) = bytes.split_at(8);
    // Never zero, which says that there is none yet.
    Ok([u64::from_ne_bytes(low.try_into()?) | 1, u64::from_ne_bytes(high.try_into()?)])
}

impl Daemon {
    /// Makes the datapath what a plan says.
    async fn apply(&mut self, plan: Plan, snapshot: &Snapshot, attacher: &Attacher) -> Result<()> {
        let wanted: BTreeSet<u32> = plan.uplinks.iter().map(|uplink| uplink.interface).collect();
        let attached: BTreeSet<u32> = attached_interfaces(&self.options.pins)?.into_iter().collect();
        let new = |uplink: &&PlannedUplink| !attached.contains(&uplink.interface);
        // Before anything is changed: this is what fails most.
        for uplink in plan.uplinks.iter().filter(new) {
            attacher.check_foreign(uplink.interface, &uplink.name).await?;
        }
        for gone in attached.difference(&wanted) {
            attacher.detach(*gone, snapshot.existing_name(*gone).as_deref()).await?;
        }
        let uplinks: Vec<Uplink> = plan.uplinks.iter().map(|uplink| uplink.uplink).collect();
        let salt = self.tables.uplinks()?.salt;
        let arranged = Uplinks::arrange(&uplinks, salt).context("too many uplinks; 16 are the limit")?;
        self.tables.set_uplinks(arranged)?;
        if plan.sources != self.plan.sources || plan.excepts != self.plan.excepts {
            self.tables.replace_rules(&plan.sources, &plan.excepts)?;
        }
        for uplink in plan.uplinks.iter().filter(new) {
            attacher.attach(&mut self.loaded, uplink.interface, &uplink.name)?;
            tracing::info!("attached to {}", uplink.name);
        }
        self.plan = plan;
        let ended = gc::kill_misplaced(&self.tables, &self.reaper, &self.plan)?;
        if ended > 0 {
            tracing::info!("ended {ended} flows: their external address or uplink is gone");
        }
        Ok(())
    }

    /// Puts the programs just loaded in the place of those an earlier daemon attached.
    fn replace_programs(&mut self, attacher: &Attacher) -> Result<()> {
        if self.adopted {
            for uplink in &self.plan.uplinks {
                attacher.attach(&mut self.loaded, uplink.interface, &uplink.name)?;
            }
        }
        Ok(())
    }

    /// The plan for the interfaces as they are now. Interfaces may come and go while the daemon runs.
    fn plan_now(&self, config: &Config, snapshot: &Snapshot) -> Result<Plan> {
        let mut present = config.clone();
        present.rules.retain(|rule| snapshot.links.iter().any(|link| link.name == rule.out));
        Ok(plan(&present, snapshot)?)
    }

    /// Follows a change of the interfaces or their addresses.
    async fn follow(&mut self, change: &Change, network: &Network, attacher: &Attacher) {
        if let Err(error) = self.try_follow(change, network, attacher).await {
            tracing::error!("cannot follow a change of the interfaces: {error:#}");
        }
    }

    async fn try_follow(&mut self, change: &Change, network: &Network, attacher: &Attacher) -> Result<()> {
        // An interface that has the number of one that is gone has none of its programs.
        let removed = |uplink: &&PlannedUplink| change.removed.contains(&uplink.interface);
        for uplink in self.plan.uplinks.iter().filter(removed) {
            attacher.detach(uplink.interface, None).await?;
        }
        let snapshot = network.snapshot().await?;
        let plan = self.plan_now(&self.config, &snapshot)?;
        if plan.uplinks != self.plan.uplinks || plan.uplinks.iter().any(|uplink| removed(&uplink)) {
            for warning in &plan.warnings {
                tracing::warn!("{warning}");
            }
            for uplink in &plan.uplinks {
                tracing::info!("{uplink}");
            }
            self.apply(plan, &snapshot, attacher).await?;
        }
        Ok(())
    }

    /// Reads the configuration again; a wrong one changes nothing.
    async fn reload(&mut self, network: &Network, attacher: &Attacher) {
        match self.try_reload(network, attacher).await {
            Ok(()) => tracing::info!("reloaded; flows go on"),
            Err(error) => tracing::error!("not reloaded, the old configuration goes on: {error:#}"),
        }
    }

    async fn try_reload(&mut self, network: &Network, attacher: &Attacher) -> Result<()> {
        let config = self.options.source.read()?;
        let snapshot = network.snapshot().await?;
        let plan = plan(&config, &snapshot)?;
        if config.datapath.max_flows != self.config.datapath.max_flows {
            tracing::warn!("max_flows counts after `natbpf detach`; the flow table keeps its size");
        }
        for warning in &plan.warnings {
            tracing::warn!("{warning}");
        }
        if let Err(error) = self.apply(plan, &snapshot, attacher).await {
            let old = self.plan_now(&self.config, &snapshot)?;
            // The rules in the datapath may be either.
            self.plan = Plan::default();
            self.apply(old, &snapshot, attacher).await.context(format!("{error:#}; and then"))?;
            return Err(error);
        }
        let settings = self.tables.settings()?;
        self.tables.set_settings(Settings { timeouts: config.timeouts, ..settings })?;
        self.config = config;
        Ok(())
    }

    fn keep_house(&mut self) {
        self.skipped += 1;
        if !self.crowded && self.skipped < LEISURE {
            return;
        }
        self.skipped = 0;
        match gc::collect(&self.tables, &self.reaper) {
            Ok(round) => {
                tracing::trace!("{} entries, acted on {}", round.entries, round.acted);
                let max = self.tables.max_entries().unwrap_or(u64::MAX);
                self.crowded = round.entries > max / 10 * 9;
            }
            Err(error) => tracing::error!("housekeeping failed: {error:#}"),
        }
    }

    /// Says what was dropped and what to do about it.
    fn report_drops(&mut self) {
        let counters = match self.tables.counters() {
            Ok(counters) => counters,
            Err(error) => return tracing::error!("{error:#}"),
        };
        for (counter, advice) in ADVICE {
            let dropped = counters[*counter as usize].saturating_sub(self.counters[*counter as usize]);
            if dropped > 0 {
                tracing::warn!(
                    "dropped {dropped} packets in {} s: {} {advice}",
                    WATCH.as_secs(),
                    counter.help().trim()
                );
            }
        }
        self.counters = counters;
    }

    /// Says that traffic flows, to whoever waits for it.
    fn announce(&self) -> Result<()> {
        let modes: BTreeSet<&str> =
            attachments(&self.options.pins)?.iter().map(|attached| attached.mode.name()).collect();
        let uplinks: Vec<String> = self.plan.uplinks.iter().map(ToString::to_string).collect();
        println!(
            "ready: masquerading out of {}; {} flows at most, attached by {}{}",
            uplinks.join(", "),
            self.tables.max_entries()? / 2,
            modes.into_iter().collect::<Vec<_>>().join(" and "),
            if self.adopted { ", went on from the earlier state" } else { "" }
        );
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        Ok(())
    }
}

/// Drops that the operator can do something about.
const ADVICE: &[(Counter, &str)] = &[
    (Counter::TableFull, "Raise max_flows, or shorten [timeouts]; `natbpf flows list` shows who holds them."),
    (Counter::NoPort, "Widen to_ports."),
    (Counter::NoAddress, "Give the uplink an address."),
    (Counter::WriteFailed, "Memory may be short."),
];
