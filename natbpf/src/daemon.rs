//! The daemon: attaches, follows the interfaces and the configuration, and keeps house. Traffic needs it for
//! none of its packets.

use std::{collections::BTreeSet, fs::File, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use natbpf_common::{
    config::{Settings, Uplink, Uplinks},
    counter::{Counter, Counters},
    notice::Notice,
};
use nix::fcntl::Flock;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    announce::Announcer,
    cli::DatapathArgs,
    config::Config,
    datapath::{Attacher, Loaded, Pins, Reaper, Role, Sizes, Tables, attached, attachments},
    gc, netns,
    network::{Change, Network, Snapshot, devices},
    notices::Notices,
    plan::{Missing, Plan, plan},
    preflight, teardown,
};

mod offload;
mod xdp;

use offload::{Offloading, configured};
use xdp::XdpState;

/// Between two rounds of housekeeping while the table is nearly full.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Of so many of these one is used while it is not.
const LEISURE: u32 = 5;

/// Looking at routes because of changes among them takes at most one part of so many of the time.
const ROUTES_SHARE: u32 = 20;

/// Between two looks at the counters of drops.
const WATCH: Duration = Duration::from_secs(10);

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file, which is read again on SIGHUP.
    File(PathBuf, DatapathArgs),
    /// The command line.
    Arguments(Box<Config>),
}

impl Source {
    fn read(&self) -> Result<Config> {
        match self {
            Self::File(path, arguments) => {
                let mut config = Config::from_file(path)?;
                config.datapath.apply(arguments);
                Ok(config)
            }
            Self::Arguments(config) => Ok((**config).clone()),
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
                let detached = teardown::detach(&options.pins, &attacher, &snapshot).await;
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
        changes.follow_routes(daemon.config.wants_routes())?;
        tokio::select! {
            _ = end.recv() => break,
            _ = interrupt.recv() => break,
            _ = reload.recv() => daemon.reload(&network, &attacher).await,
            change = changes.next() => daemon.follow(&change?, &network, &attacher).await,
            notices = daemon.notices.next() => daemon.tell(&notices?),
            _ = housekeeping.tick() => {
                let routes_changed = daemon.routes_changed && daemon.routes_due <= Instant::now();
                if daemon.recheck_offload() || routes_changed {
                    daemon.follow(&Change::anything(), &network, &attacher).await;
                }
                daemon.keep_house();
            }
            _ = watch.tick() => daemon.report_drops(),
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    daemon.offloading.watcher.stop();
    if options.stay {
        tracing::info!("the datapath stays; `natbpf detach` removes it, and the next start takes it over");
        return Ok(());
    }
    let snapshot = network.snapshot().await?;
    teardown::detach(&options.pins, &attacher, &snapshot).await
}

/// A running daemon.
struct Daemon {
    options: Options,
    config: Config,
    loaded: Loaded,
    tables: Tables,
    reaper: Reaper,
    notices: Notices,
    plan: Plan,
    /// The datapath is what the plan says. Not so at the start, and after a change that failed half way.
    in_force: bool,
    announcer: Announcer,
    offloading: Offloading,
    xdp: XdpState,
    /// Since the last look.
    routes_changed: bool,
    /// They are not looked at before.
    routes_due: Instant,
    adopted: bool,
    counters: Counters,
    /// Moments for housekeeping that were not used.
    skipped: u32,
    /// The table is nearly full.
    crowded: bool,
    /// The operator was told that it is.
    warned: bool,
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
    let snapshot = look(network, &config).await?;
    let plan = plan(&config, &snapshot, Missing::Refused)?;
    if let [name, ..] = plan.without_address()[..] {
        bail!(
            "{name} has no IPv4 address to translate to, and no other interface has one to lend; \
             give it one with: ip address add ADDRESS/LENGTH dev {name}"
        );
    }
    for (interface, name, role) in plan.interfaces().filter(|(.., role)| *role != Role::Port) {
        attacher.check_foreign(interface, name, role).await?;
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
    tables.set_settings(Settings { netns: cookie, ..configured(&config, settings) })?;
    let mut offloading = Offloading::new(&options.pins, &tables)?;
    if adopted {
        offloading.settle(&mut tables, &config)?;
    }
    let reaper = Reaper::open(&options.pins)?;
    let counters = tables.counters()?;
    let mut daemon = Daemon {
        options: options.clone(),
        config,
        loaded,
        tables,
        reaper,
        notices: Notices::open(&options.pins, &snapshot)?,
        plan: Plan::default(),
        in_force: false,
        announcer: Announcer::default(),
        offloading,
        xdp: XdpState::default(),
        routes_changed: false,
        routes_due: Instant::now(),
        adopted,
        counters,
        skipped: 0,
        crowded: false,
        warned: false,
        _lock: lock,
    };
    daemon.apply(plan.clone().with_offload(daemon.offloading.state.is_on()), &snapshot, attacher).await?;
    daemon.replace_programs(attacher)?;
    // A start that fails has not touched conntrack.
    if daemon.offloading.settle(&mut daemon.tables, &daemon.config)? && daemon.offloading.state.is_on() {
        daemon.apply(plan, &snapshot, attacher).await?;
    }
    daemon.say_hooks();
    for warning in preflight::warnings().iter().chain(&daemon.plan.warnings) {
        tracing::warn!("{warning}");
    }
    Ok(daemon)
}

/// The interfaces as they are now, with routes if the configuration needs them.
async fn look(network: &Network, config: &Config) -> Result<Snapshot> {
    let mut snapshot = network.snapshot().await?;
    if config.wants_routes() {
        snapshot.routes = network.routes().await?;
    }
    if config.datapath.wants_offload() {
        snapshot.devices = devices(&snapshot.links);
    }
    Ok(snapshot)
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
    async fn apply(&mut self, mut plan: Plan, snapshot: &Snapshot, attacher: &Attacher) -> Result<()> {
        let pins = &self.options.pins;
        // Before anything is changed: this is what fails most.
        self.tables.check_room(&plan.sources, &plan.destinations)?;
        self.tables.check_room_to_serve(&plan.forwards, &plan.externals)?;
        let before = attached(pins)?;
        let new = |(interface, _, role): &(u32, &str, Role)| !before.contains(&(*interface, *role));
        for (interface, name, role) in plan.interfaces().filter(|place| place.2 != Role::Port && new(place)) {
            attacher.check_foreign(interface, name, role).await?;
        }
        self.offloading.watcher.change();
        if !self.offloading.state.is_on() {
            // No reply goes straight to a port any more.
            self.offloading.watcher.switch(false).await?;
        }
        self.withdraw_targets(&plan)?;
        let wanted: BTreeSet<(u32, Role)> =
            plan.interfaces().map(|(interface, _, role)| (interface, role)).collect();
        let mut gone: Vec<(u32, Role)> = before.difference(&wanted).copied().collect();
        // What sends packets to uplinks goes first.
        gone.sort_by_key(|(_, role)| std::cmp::Reverse(*role));
        for (interface, role) in gone {
            attacher.detach(interface, snapshot.existing_name(interface).as_deref(), role).await?;
        }
        let uplinks: Vec<Uplink> = plan.uplinks.iter().map(|uplink| uplink.uplink).collect();
        let salt = self.tables.uplinks()?.salt;
        let arranged = Uplinks::arrange(&uplinks, salt).context("too many uplinks; 16 are the limit")?;
        self.tables.set_uplinks(arranged)?;
        let same_places = self.in_force && plan.has_same_places(&self.plan);
        self.fill_tables(&plan)?;
        for (interface, name, role) in plan.interfaces().filter(|place| place.2 != Role::Port && new(place)) {
            attacher.attach(&mut self.loaded, interface, name, role)?;
            tracing::info!("attached to {name}{}", role.purpose());
        }
        self.attach_ports(&plan, attacher).await?;
        self.attach_xdp(&mut plan, snapshot, attacher).await?;
        self.plan = plan;
        self.in_force = true;
        self.offloading.watcher.switch(self.offloading.state.is_on()).await?;
        if !same_places {
            let ended = gc::kill_misplaced(&self.tables, &self.reaper, &self.plan)?;
            if ended > 0 {
                tracing::info!("ended {ended} flows: their external address, forward or uplink is gone");
            }
        }
        self.announcer.update(self.plan.announced(snapshot));
        self.announcer.tick();
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
            tables.replace_forwards(&plan.forwards)?;
        }
        Ok(())
    }

    /// Puts the programs just loaded in the place of those an earlier daemon attached.
    fn replace_programs(&mut self, attacher: &Attacher) -> Result<()> {
        if self.adopted {
            let attached = attached(&self.options.pins)?;
            let ours = self.plan.interfaces().filter(|place| attached.contains(&(place.0, place.2)));
            for (interface, name, role) in ours {
                attacher.attach(&mut self.loaded, interface, name, role)?;
            }
        }
        Ok(())
    }

    /// The plan for the interfaces as they are now. Interfaces may come and go while the daemon runs.
    fn plan_now(&mut self, snapshot: &Snapshot) -> Result<Plan> {
        self.offloading.settle_again(&mut self.tables, &self.config)?;
        let plan = plan(&self.config, snapshot, Missing::LeftOut)?;
        Ok(plan.with_offload(self.offloading.state.is_on()))
    }

    /// Follows a change of the interfaces or their addresses.
    async fn follow(&mut self, change: &Change, network: &Network, attacher: &Attacher) {
        if let Err(error) = self.try_follow(change, network, attacher).await {
            tracing::error!("cannot follow a change of the interfaces: {error:#}");
        }
    }

    async fn try_follow(&mut self, change: &Change, network: &Network, attacher: &Attacher) -> Result<()> {
        if !change.filters.is_empty() {
            self.recheck_ports(&change.filters, attacher).await?;
        }
        if !change.interfaces {
            // In bursts, on some routers: the next round of housekeeping is early enough.
            self.routes_changed |= change.routes;
            return Ok(());
        }
        self.routes_changed = false;
        // An interface that has the number of one that is gone has none of its programs.
        let ours = self.plan.interfaces().map(|(interface, _, role)| (interface, role));
        let removed: Vec<(u32, Role)> =
            ours.filter(|(interface, _)| change.removed.contains(interface)).collect();
        for (interface, role) in &removed {
            attacher.detach(*interface, None, *role).await?;
        }
        self.xdp.forget(&change.removed);
        let started = Instant::now();
        let snapshot = look(network, &self.config).await?;
        // Where there are as many routes as in the Internet, they change all the time.
        self.routes_due = Instant::now() + started.elapsed() * ROUTES_SHARE;
        self.notices.follow(&snapshot);
        let plan = self.plan_now(&snapshot)?;
        if !plan.is_same(&self.plan) || !removed.is_empty() {
            // Ports come and go by the minute on some hosts; what was said need not be said again.
            for warning in plan.warnings.iter().filter(|warning| !self.plan.warnings.contains(warning)) {
                tracing::warn!("{warning}");
            }
            for uplink in plan.uplinks.iter().filter(|uplink| !self.plan.uplinks.contains(uplink)) {
                tracing::info!("{uplink}");
            }
            self.apply(plan, &snapshot, attacher).await?;
            self.say_hooks();
        } else {
            // A link may have come back.
            self.announcer.update(self.plan.announced(&snapshot));
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
        let snapshot = look(network, &config).await?;
        let plan = plan(&config, &snapshot, Missing::Refused)?;
        self.offloading.settle_again(&mut self.tables, &config)?;
        let plan = plan.with_offload(self.offloading.state.is_on());
        if config.datapath.max_flows != self.config.datapath.max_flows {
            tracing::warn!("max_flows counts after `natbpf detach`; the flow table keeps its size");
        }
        for warning in &plan.warnings {
            tracing::warn!("{warning}");
        }
        self.xdp.forget_refusals();
        if let Err(error) = self.apply(plan, &snapshot, attacher).await {
            let snapshot = look(network, &self.config).await?;
            let old = self.plan_now(&snapshot)?;
            self.apply(old, &snapshot, attacher).await.context(format!("{error:#}; and then"))?;
            return Err(error);
        }
        let settings = self.tables.settings()?;
        self.tables.set_settings(configured(&config, settings))?;
        self.config = config;
        self.say_hooks();
        Ok(())
    }

    fn keep_house(&mut self) {
        self.announcer.tick();
        self.recheck_targets();
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
                self.warn_of_full_table(round.entries / 2, max / 2);
            }
            Err(error) => tracing::error!("housekeeping failed: {error:#}"),
        }
    }

    /// Once when it is nearly full, and again after it was not (`nf_conntrack` says it at 95 % too).
    fn warn_of_full_table(&mut self, flows: u64, max: u64) {
        let nearly_full = flows > max / 100 * 95;
        if nearly_full && !self.warned {
            tracing::warn!(
                "the flow table is nearly full: {flows} of {max} flows; new ones will be refused. \
                 Raise max_flows, or look for a flood with `natbpf flows list`"
            );
        }
        self.warned = nearly_full || self.warned && self.crowded;
    }

    /// Tells senders and operator of packets that found no room.
    fn tell(&mut self, notices: &[Notice]) {
        let entries = match self.tables.max_entries() {
            Ok(entries) => entries,
            Err(error) => return tracing::error!("{error:#}"),
        };
        for notice in notices {
            self.notices.tell(notice, &self.plan, entries / 2);
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
                    reason = counter.name(),
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
            "ready: masquerading out of {}; {} flows at most, attached by {}{}; {}{}",
            uplinks.join(", "),
            self.tables.max_entries()? / 2,
            modes.into_iter().collect::<Vec<_>>().join(" and "),
            if self.adopted { ", went on from the earlier state" } else { "" },
            self.describe_offload(),
            self.describe_xdp()
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
    (
        Counter::Quota,
        "Raise max_flows_per_source or new_flows_per_second, or look for a flood with `natbpf flows list -s SOURCE`.",
    ),
    (Counter::FragmentLost, "Keep datagrams within the MTU, or look who floods with fragments."),
    (
        Counter::Hairpin,
        "See whether the inside host is up: `ip route get ADDRESS` and `ip neigh` on the gateway.",
    ),
];
