//! TCP connections whose packets were repeated, and conntrack in the network namespaces that they pass.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Result;
use natbpf_common::{IfIndex, Port, Timestamp, path::cell::Path, wire::protocol::TCP};

use super::shown::Shows;
use crate::{
    datapath::Tables,
    netns::inside,
    network::Handle,
    offload::{Ends, Tracker},
};

/// Connections of two edges that are known in none of the places where others of them are, are looked for in all of
/// them so often at most.
const SEARCH: Duration = Duration::from_secs(1);

/// One direction of a connection that was repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    edges: (IfIndex, IfIndex),
    comes: Ends,
    leaves: Ends,
}

impl Connection {
    fn of<F: Shows>(path: &Path<F>, from: Timestamp, to: Timestamp) -> Option<Self> {
        let (key, change) = (&path.key, &path.change);
        let runs_out = from.number() <= path.until.number() && path.until.number() < to.number();
        if key.protocol != u32::from(TCP) || path.packets == 0 || !runs_out {
            return None;
        }
        let end = |address, port: Port| SocketAddr::new(F::show(address), port.number());
        Some(Self {
            edges: (key.edge.min(path.exit.edge), key.edge.max(path.exit.edge)),
            comes: (end(key.source, key.source_port), end(key.destination, key.destination_port)),
            leaves: (
                end(change.source, change.source_port),
                end(change.destination, change.destination_port),
            ),
        })
    }
}

/// Those whose paths run out, or have run out, from one time on and before another.
pub fn connections(tables: &Tables, from: Timestamp, to: Timestamp) -> Result<Vec<Connection>> {
    let mut found = Vec::new();
    let (four, six, _) = tables.paths()?;
    four.each(to, |path, _| found.extend(Connection::of(path, from, to)));
    six.each(to, |path, _| found.extend(Connection::of(path, from, to)));
    Ok(found)
}

/// conntrack of namespaces.
#[derive(Debug)]
pub struct Trackers {
    all: Vec<Tracker>,
    places: HashMap<(IfIndex, IfIndex), Places>,
}

/// Where connections between two edges are known, as numbers of trackers.
#[derive(Debug, Default)]
struct Places {
    known: Vec<usize>,
    searched: Option<Instant>,
}

impl Trackers {
    /// That of the calling thread's namespace, and those of others.
    pub fn open<'a>(others: impl IntoIterator<Item = &'a Handle>) -> io::Result<Self> {
        let mut all: Vec<Tracker> = Tracker::open()?.into_iter().collect();
        for handle in others {
            // One that has gone needs nothing.
            if let Ok(there) = handle.open() {
                all.extend(inside(&there, Tracker::open)?);
            }
        }
        Ok(Self { all, places: HashMap::new() })
    }

    /// Has a connection go on wherever it is known, see [`Tracker::keep`].
    pub fn keep(&mut self, connection: &Connection) -> io::Result<()> {
        let places = self.places.entry(connection.edges).or_default();
        let is_known = |tracker: &Tracker| {
            // As its packets are before they are translated, or after it.
            Ok::<bool, io::Error>(tracker.keep(&connection.comes)? || tracker.keep(&connection.leaves)?)
        };
        let mut found = false;
        for tracker in places.known.iter().filter_map(|number| self.all.get(*number)) {
            found |= is_known(tracker)?;
        }
        if found || places.searched.is_some_and(|searched| searched.elapsed() < SEARCH) {
            return Ok(());
        }
        places.known.clear();
        for (number, tracker) in self.all.iter().enumerate() {
            if is_known(tracker)? {
                places.known.push(number);
            }
        }
        places.searched = Some(Instant::now());
        Ok(())
    }
}
