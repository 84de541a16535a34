//! The daemon: attaches, follows the interfaces and the configuration, and keeps house. Traffic needs it for
//! none of its packets.

use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use natbpf_common::{
    contract::{counter::Counters, settings::Settings},
    keyed::Keys,
};
use nix::fcntl::Flock;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    announce::Announcer,
    cli::DatapathArgs,
    config::Config,
    datapath::{Attacher, Loaded, Pins, Role, Sizes, Tables},
    netns,
    network::{ANYWHERE, Change, Network, Snapshot, devices},
    notices::Notices,
    plan::{Missing, Plan, plan},
    preflight, teardown,
};

mod apply;
mod follow;
mod house;
mod kernel;
mod offload;
mod others;
mod report;
mod xdp;

use apply::{Refusals, Wish};
use house::House;
use kernel::Rota;
use offload::{Offloading, configured};
use others::Others;
use xdp::XdpState;

/// Between two looks at what nobody tells of.
const TICK: Duration = Duration::from_secs(1);

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
    preflight::check()?;
    // A mistake in the configuration changes nothing.
    let config = options.source.read()?;
    if preflight::provide_bpffs(&options.bpffs)? {
        say_mounted(&options.bpffs);
    }
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
                let detached = teardown::detach(&options.pins, &attacher).await;
                detached.context(format!("{error:#}; and then"))?;
            }
            return Err(error);
        }
    };
    daemon.announce();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = interval(WATCH);
    let mut notices = true;
    // Nothing but a signal ends it.
    loop {
        changes.follow_routes(daemon.config.wants_routes());
        tokio::select! {
            // What comes first waits for nothing else. What others can have happen all the time has its pauses, in which the rest gets
            // its turn; ports are attached to when nothing else is to be done.
            biased;
            _ = end.recv() => break,
            _ = interrupt.recv() => break,
            _ = reload.recv() => daemon.reload(&network, &attacher).await,
            _ = tick.tick() => daemon.look_around(&network, &attacher).await,
            change = daemon.others.changed() => {
                // Once a round at most, and whoever has come is to see every packet.
                daemon.due = Instant::now();
                daemon.follow(&change, &network, &attacher).await;
            }
            () = sleep_until(daemon.due), if daemon.has_changes() => {
                daemon.follow(&Change::default(), &network, &attacher).await;
            }
            change = changes.next() => daemon.follow(&change, &network, &attacher).await,
            _ = watch.tick() => daemon.report_drops(),
            told = daemon.notices.next(), if notices => match told {
                Ok(told) => daemon.tell(&told),
                Err(error) => {
                    tracing::error!("who gets no new flow is not told any more: {error:#}");
                    notices = false;
                }
            },
            // By way of the runtime, which sees only then what has come meanwhile.
            () = yield_now(), if daemon.offloading.owes_ports() => daemon.attach_more_ports(&attacher).await,
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    daemon.offloading.watcher.stop();
    daemon.house.stop();
    if options.stay {
        tracing::info!("the datapath stays; `natbpf detach` removes it, and the next start takes it over");
        return Ok(());
    }
    teardown::detach(&options.pins, &attacher).await
}

/// A running daemon.
struct Daemon {
    options: Options,
    config: Arc<Config>,
    loaded: Loaded,
    tables: Tables,
    house: House,
    notices: Notices,
    plan: Plan,
    /// The datapath is what the plan says. Not so at the start, and after a change that failed half way.
    in_force: bool,
    /// It has been, and other things are to be done beside making it so.
    started: bool,
    announcer: Announcer,
    offloading: Offloading,
    others: Others,
    xdp: XdpState,
    refusals: Refusals,
    rota: Rota,
    /// Where natbpf is already, as far as it goes: left by an earlier daemon, or somebody has taken programs off. Until all of it is there
    /// again nobody asks who else has come meanwhile.
    claimed: BTreeSet<(u32, Role)>,
    /// Interfaces of the plan are gone, which is not followed yet.
    gone: bool,
    /// Since the last look.
    interfaces_changed: bool,
    /// Interfaces whose filters or qdiscs have changed since they were looked at.
    filters_changed: BTreeSet<u32>,
    /// Those where looking has failed.
    filters_failed: BTreeSet<u32>,
    /// Why it has.
    filters_failure: Option<String>,
    /// Nothing of this is looked at before.
    due: Instant,
    routes_changed: bool,
    /// They are not looked at before.
    routes_due: Instant,
    /// Why the last change could not be followed; it is tried again.
    failure: Option<String>,
    adopted: bool,
    counters: Counters,
    _lock: Flock<File>,
}

/// From nothing, or from what an earlier daemon has left, to a datapath that translates.
async fn start(
    options: &Options,
    mut config: Config,
    network: &Network,
    attacher: &Attacher,
    lock: Flock<File>,
) -> Result<Daemon> {
    let snapshot = look(network, &config).await?;
    let planned = plan(&config, &snapshot, Missing::Refused)?;
    if let [name, ..] = planned.without_address()[..] {
        bail!(
            "{name} has no IPv4 address to translate to, and no other interface has one to lend; \
             give it one with: ip address add ADDRESS/LENGTH dev {name}"
        );
    }
    let claimed = attacher.look().await?.into_iter().map(|there| (there.interface, there.hook.role()));
    let claimed: BTreeSet<(u32, Role)> = claimed.collect();
    let uplinks = planned.uplinks.iter().filter(|uplink| uplink.named);
    let uplinks = uplinks.map(|uplink| (uplink.interface, &uplink.name, Role::Uplink));
    let inside = planned.inside.iter().filter(|inside| inside.named);
    for (interface, name, role) in
        uplinks.chain(inside.map(|inside| (inside.interface, &inside.name, Role::Inside)))
    {
        if !claimed.contains(&(interface, role)) {
            attacher.check_foreign(interface, name, role).await?;
        }
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
        // Parts of it are counted from what it really holds.
        config.datapath.max_flows = u32::try_from(tables.max_entries()? / 2)?;
    }
    let mut settings = tables.settings()?;
    if settings.secret == [0; 2] {
        settings.secret = secret()?;
    }
    if settings.keys.is_unset() {
        settings.keys = zerocopy::transmute!(random::<{ Keys::BYTES }>()?);
    }
    tables.set_settings(Settings { netns: cookie, ..configured(&config, settings) })?;
    let mut offloading = Offloading::new(&options.pins, &tables)?;
    let mut others = Others::start().context("cannot watch the hooks")?;
    if adopted {
        offloading.others = others.find(&planned, attacher).await;
        offloading.settle(&mut tables, &config)?;
    }
    let house = House::start(&options.pins)?;
    let counters = tables.counters()?;
    let mut daemon = Daemon {
        options: options.clone(),
        config: Arc::new(config),
        loaded,
        tables,
        house,
        notices: Notices::open(&options.pins, &snapshot)?,
        plan: Plan::default(),
        in_force: false,
        started: false,
        announcer: Announcer::default(),
        offloading,
        others,
        xdp: XdpState::default(),
        refusals: Refusals::default(),
        rota: Rota::default(),
        claimed,
        gone: false,
        interfaces_changed: false,
        filters_changed: BTreeSet::new(),
        filters_failed: BTreeSet::new(),
        filters_failure: None,
        due: Instant::now(),
        routes_changed: false,
        routes_due: Instant::now(),
        failure: None,
        adopted,
        counters,
        _lock: lock,
    };
    let config = Arc::clone(&daemon.config);
    let wish = Wish { config: &config, snapshot: &snapshot, missing: Missing::Refused };
    if let Some(misplaced) = daemon.apply(&wish, attacher).await? {
        house::done(misplaced).await?;
    }
    if adopted {
        daemon.replace_programs(attacher).await?;
        // What has come while no daemon ran, nobody tells of.
        daemon.recheck_others(&BTreeSet::from([ANYWHERE]), attacher).await?;
    }
    // A start that fails has not touched conntrack.
    let was_on = daemon.offloading.state.is_on();
    daemon.offloading.settle(&mut daemon.tables, &daemon.config)?;
    if daemon.offloading.state.is_on() != was_on {
        daemon.apply(&wish, attacher).await?;
    }
    daemon.started = true;
    daemon.say_hooks();
    for warning in preflight::warnings().iter().chain(&daemon.plan.warnings) {
        tracing::warn!("{warning}");
    }
    Ok(daemon)
}

fn say_mounted(bpffs: &Path) {
    tracing::info!("mounted a BPF file system at {}, where there was none", bpffs.display());
    if !preflight::in_first_mount_namespace() {
        tracing::warn!(
            "{} is mounted in a mount namespace that is not the host's (that of `ip netns exec`, say): other commands \
             do not find this instance from outside of it, and its programs end with it; use --netns instead of `ip netns exec`",
            bpffs.display()
        );
    }
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
    let bytes = random::<16>()?;
    let (low, high) = bytes.split_at(8);
    // Never zero, which says that there is none yet.
    Ok([u64::from_ne_bytes(low.try_into()?) | 1, u64::from_ne_bytes(high.try_into()?)])
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    // SAFETY: the buffer is as long as said.
    let length = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), LENGTH, 0) };
    if length != LENGTH as isize {
        return Err(std::io::Error::last_os_error()).context("cannot get random bytes");
    }
    Ok(bytes)
}
