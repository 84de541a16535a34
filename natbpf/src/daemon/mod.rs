//! The daemon: attaches, follows the interfaces and the configuration, and keeps house. Traffic needs it for
//! none of its packets.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    clock::wait_until,
    datapath::Attacher,
    network::{Change, Network},
    preflight, teardown,
};

mod apply;
mod conntrack;
mod detach;
mod files;
mod follow;
mod house;
mod kernel;
mod look;
mod namespaces;
mod obstacles;
mod options;
mod ports;
mod random;
mod reload;
mod report;
mod resting;
mod say;
mod settings;
mod start;
mod state;
mod xdp;

pub use options::{Options, Source};

use report::WATCH;
use start::start;

/// Between two looks at what nobody tells of.
const TICK: Duration = Duration::from_secs(1);

/// Runs until a signal ends it.
pub async fn run(options: Options) -> Result<()> {
    // Before anything is changed: from here on no signal ends the program half way.
    let mut end = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut reload = signal(SignalKind::hangup())?;
    preflight::check()?;
    files::raise_limit();
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
            // What comes first waits for nothing else. What others can have happen all the time has its pauses, in
            // which the rest gets its turn; ports are attached to when nothing else is to be done.
            biased;
            _ = end.recv() => break,
            _ = interrupt.recv() => break,
            _ = reload.recv() => daemon.reload(&network, &attacher).await,
            _ = tick.tick() => daemon.look_around(&network, &attacher).await,
            change = daemon.others.changed() => {
                // Once a round at most, and a program that has come is to see every packet.
                daemon.due = Instant::now();
                daemon.follow(&change, &network, &attacher).await;
            }
            () = sleep_until(daemon.due), if daemon.has_changes() => {
                daemon.follow(&Change::default(), &network, &attacher).await;
            }
            () = wait_until(daemon.leases.due()) => {
                daemon.leases.expire(Instant::now());
                daemon.interfaces_changed = true;
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
            // Through the runtime, which sees only then what has come meanwhile.
            () = yield_now(), if daemon.offloading.owed => daemon.attach_more_ports(&attacher).await,
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
