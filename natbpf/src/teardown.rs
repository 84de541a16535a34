//! Leaving the host as it was before.

use anyhow::Result;
use natbpf_common::{
    Timestamp,
    contract::{gauge::Gauge, settings::Changes},
};

use crate::{
    clock,
    datapath::{Attacher, Note, Pins, Tables},
    netns,
    network::Handle,
    offload::{
        conntrack::{self, Conntrack, SYSCTL},
        make_strict, noted, put_back,
    },
    paths::{Trackers, connections},
};

/// Takes everything off, removes all pins, and puts back what was changed. Row M27.
pub async fn detach(pins: &Pins, attacher: &Attacher) -> Result<()> {
    // What was changed is known to the maps, which go with their pins. Those of another version nobody can read.
    let opened = Tables::open(pins).and_then(|mut tables| {
        // No reply goes straight to a port any more.
        tables.set_gauge(Gauge::Epoch, 0)?;
        Ok((tables.settings()?, tables))
    });
    let elsewhere = noted(Note::Liberal.read(pins).as_deref());
    let unreadable =
        opened.is_err() && pins.list_all_versions()?.iter().any(|(path, _)| path.ends_with("SETTINGS"));
    // Nothing that may fail stands before it.
    attacher.detach_all().await?;
    if let Ok((settings, tables)) = &opened
        && (settings.changes.intersects(Changes::MADE_LIBERAL) || !elsewhere.is_empty())
        && let Err(error) = let_go_on(tables, &elsewhere)
    {
        tracing::warn!(
            "cannot tell conntrack which connections were repeated: {error:#}; those that go on may be invalid to it"
        );
    }
    elsewhere.iter().for_each(make_strict);
    match opened {
        // They are about the calling thread's network namespace.
        Ok((settings, _)) if netns::cookie().is_ok_and(|here| here == settings.netns) => put_back(settings),
        Ok((settings, _)) if settings.changes.intersects(Changes::MADE_LIBERAL) => {
            tracing::warn!("natbpf had set {SYSCTL} = 1 in another network namespace, where it stays so");
        }
        Ok(_) => {}
        Err(_) if unreadable && conntrack::look() == Conntrack::Liberal => tracing::warn!(
            "nobody can read any more whether natbpf had set {SYSCTL}; if it was 0 before, put it back with: \
             sysctl -w {SYSCTL}=0"
        ),
        Err(_) => {}
    }
    Ok(())
}

/// Has connections go on by a conntrack that is strict again: all of which there still is a path, also one that has run
/// out, since nobody may have seen it.
fn let_go_on(tables: &Tables, elsewhere: &[Handle]) -> Result<()> {
    // No path is for longer than that from now.
    let end = clock::now() + tables.repeat()?.revalidate + natbpf_common::SECOND;
    let mut trackers = Trackers::open(elsewhere)?;
    for connection in connections(tables, Timestamp::new(1), end)? {
        trackers.keep(&connection)?;
    }
    Ok(())
}
