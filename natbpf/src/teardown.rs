//! Leaving the host as it was before.

use anyhow::Result;
use natbpf_common::contract::{gauge::Gauge, settings::Changes};

use crate::{
    datapath::{Attacher, Note, Pins, Tables},
    netns,
    offload::{
        conntrack::{self, Conntrack, SYSCTL},
        put_back, put_back_noted,
    },
};

/// Takes everything off, removes all pins, and puts back what was changed. Row M27.
pub async fn detach(pins: &Pins, attacher: &Attacher) -> Result<()> {
    // What was changed is known to the maps, which go with their pins. Those of another version nobody can read.
    let settings = Tables::open(pins).and_then(|mut tables| {
        // No reply goes straight to a port any more.
        tables.set_gauge(Gauge::Epoch, 0)?;
        tables.settings()
    });
    let elsewhere = Note::Liberal.read(pins);
    let unreadable =
        settings.is_err() && pins.list_all_versions()?.iter().any(|(path, _)| path.ends_with("SETTINGS"));
    // Nothing that may fail stands before it.
    attacher.detach_all().await?;
    put_back_noted(elsewhere.as_deref());
    match settings {
        // They are about the calling thread's network namespace.
        Ok(settings) if netns::cookie().is_ok_and(|here| here == settings.netns) => put_back(settings),
        Ok(settings) if settings.changes.intersects(Changes::MADE_LIBERAL) => {
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
