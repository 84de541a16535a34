//! From nothing, or from what an earlier daemon has left, to a datapath that translates.

use std::{collections::BTreeSet, fs::File, sync::Arc};

use anyhow::{Context as _, Result, bail};
use natbpf_common::{IfIndex, contract::settings::Settings, path::family::PathKeys};
use nix::fcntl::Flock;
use tokio::time::Instant;

use super::{
    Options,
    apply::Wish,
    house::{self, House},
    look::look,
    obstacles::Sentry,
    random::{random, secret},
    resting::Resting,
    settings::configured,
    state::{Daemon, Leases, Offloading, Others, Refusals, Rota, XdpState},
};
use crate::{
    announce::Announcer,
    config::Config,
    datapath::{Attacher, Loaded, Role, Sizes, Tables},
    netns,
    network::{ANYWHERE, Network, Surroundings},
    notices::Notices,
    plan::{Missing, Plan, plan},
    preflight,
};

pub async fn start(
    options: &Options,
    mut config: Config,
    network: &Network,
    attacher: &Attacher,
    lock: Flock<File>,
) -> Result<Daemon> {
    let mut leases = Leases::default();
    let mut surroundings = Surroundings::default();
    let snapshot = look(network, &config, &mut leases, &mut surroundings).await?;
    let planned = plan(&config, &snapshot, Missing::Refused)?;
    if let [name, ..] = planned.without_address()[..] {
        bail!(
            "{name} has no IPv4 address to translate to, and no other interface has one to lend; \
             give it one with: ip address add ADDRESS/LENGTH dev {name}"
        );
    }
    let claimed = attacher.look().await?.into_iter().map(|there| (there.interface, there.hook.role()));
    let claimed: BTreeSet<(IfIndex, Role)> = claimed.collect();
    check_foreign(&planned, &claimed, attacher).await?;
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
    keep_size(&tables, sizes, &mut config)?;
    let settings = with_secrets(tables.settings()?)?;
    tables.set_settings(Settings { netns: cookie, ..configured(&config, &settings) })?;
    tables.set_repeat(config.datapath.revalidate.into(), random_keys)?;
    let mut offloading = Offloading::new(&options.pins, &tables)?;
    let mut others = Others::start().context("cannot watch the hooks")?;
    if adopted {
        offloading.others = others.find(&planned, attacher).await;
        offloading.settle(&mut tables, &config)?;
    }
    // Before anything is repeated.
    let sentry = Sentry::start(&options.pins, &offloading.watcher, config.datapath.anyway)?;
    let resting = Resting::start(&options.pins)?;
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
        sentry,
        resting,
        xdp: XdpState::default(),
        refusals: Refusals::default(),
        rota: Rota::default(),
        leases,
        surroundings,
        edges: Vec::new(),
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
    daemon.pass_namespaces(&snapshot.namespaces);
    daemon.say_edges(&snapshot);
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
    let routes = !daemon.plan.uplinks.is_empty();
    let warning = preflight::warning().filter(|_| routes);
    for warning in warning.into_iter().chain(daemon.plan.warnings.iter().map(String::as_str)) {
        tracing::warn!("{warning}");
    }
    Ok(daemon)
}

/// Refuses if somebody else's programs are where ours are to be and are not yet.
async fn check_foreign(plan: &Plan, claimed: &BTreeSet<(IfIndex, Role)>, attacher: &Attacher) -> Result<()> {
    for place in plan.few().filter(|place| place.strict && !claimed.contains(&place.at)) {
        attacher.check_foreign(place.at, place.name).await?;
    }
    Ok(())
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

/// Secret numbers for the hashes of paths.
pub(super) fn random_keys() -> Result<PathKeys> {
    Ok(zerocopy::transmute!(random::<{ size_of::<PathKeys>() }>()?))
}

/// The flow table has the size that it was made with, for the flows in it.
fn keep_size(tables: &Tables, sizes: Sizes, config: &mut Config) -> Result<()> {
    if tables.max_entries()? != u64::from(sizes.entries) {
        tracing::warn!(
            "the flow table keeps its size of {} flows, for the flows in it; max_flows = {} counts after `natbpf detach`",
            tables.max_entries()? / 2,
            config.datapath.max_flows
        );
        // Parts of it are counted from what it really holds.
        config.datapath.max_flows = u32::try_from(tables.max_entries()? / 2)?;
    }
    Ok(())
}

/// That of an earlier daemon stays.
fn with_secrets(mut settings: Settings) -> Result<Settings> {
    if settings.secret == [0; 2] {
        settings.secret = secret()?;
    }
    Ok(settings)
}
