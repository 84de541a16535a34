//! What paths have counted, by edge, by instance and one by one.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;
use natbpf_common::{
    IfIndex, Timestamp,
    path::{cell::Path, key::ANSWER},
};

use super::{count::Count, order::Sort};
use crate::paths::Shows;

/// Paths that are told one by one.
pub const MOST_FLOWS: usize = 1000;

/// Instances that are told one by one.
pub const MOST_INSTANCES: usize = 1 << 16;

/// Packets at an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    pub edge: IfIndex,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub source_port: u16,
    pub destination_port: u16,
}

/// A path at a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub protocol: u8,
    pub comes: Ends,
    pub leaves: Ends,
    /// It has not run out.
    pub holds: bool,
}

/// Which paths somebody wants to see; everything that is given has to match, as packets come in or as they leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub protocol: Option<u8>,
    pub source: Option<IpNet>,
    pub destination: Option<IpNet>,
}

/// Of an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeSum {
    pub paths_in: u64,
    pub paths_out: u64,
    /// Of what came in by it.
    pub repeated: Count,
    /// Of what left by it.
    pub repeated_out: Count,
}

/// Of an address behind an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstanceSum {
    pub paths: u64,
    pub sent: Count,
    pub received: Count,
}

/// All sums of a reading.
#[derive(Debug, Default)]
pub struct Sums {
    wanted: Wanted,
    sort: Sort,
    /// Edges with no instances behind them; those that translation shows are added.
    pub outside: BTreeSet<IfIndex>,
    pub edges: BTreeMap<IfIndex, EdgeSum>,
    pub instances: HashMap<(IfIndex, IpAddr), InstanceSum>,
    most: BinaryHeap<Reverse<(u64, Seen, u64, u64)>>,
    /// Paths that hold, whatever is wanted.
    pub paths: u64,
    /// Paths that are wanted, hold or have counted something.
    pub flows: u64,
}

impl Seen {
    pub fn of<F: Shows>(path: &Path<F>, now: Timestamp, epoch: u32) -> Self {
        let (key, change) = (&path.key, &path.change);
        Self {
            protocol: (key.protocol & !ANSWER) as u8,
            comes: Ends {
                edge: key.edge,
                source: F::show(key.source),
                destination: F::show(key.destination),
                source_port: key.source_port.number(),
                destination_port: key.destination_port.number(),
            },
            leaves: Ends {
                edge: path.exit.edge,
                source: F::show(change.source),
                destination: F::show(change.destination),
                source_port: change.source_port.number(),
                destination_port: change.destination_port.number(),
            },
            holds: Path::<F>::holds(path.until, path.epoch, now, epoch),
        }
    }
}

impl Wanted {
    /// Whether it is these packets.
    pub fn fits(&self, protocol: u8, source: IpAddr, destination: IpAddr) -> bool {
        let within = |network: Option<IpNet>, address: IpAddr| {
            network.is_none_or(|network| network.contains(&address))
        };
        self.protocol.is_none_or(|wanted| wanted == protocol)
            && within(self.source, source)
            && within(self.destination, destination)
    }

    fn matches(&self, path: &Seen) -> bool {
        let fits = |ends: &Ends| self.fits(path.protocol, ends.source, ends.destination);
        fits(&path.comes) || fits(&path.leaves)
    }
}

impl Sums {
    /// `sort` says which paths are told one by one.
    pub fn new(wanted: Wanted, sort: Sort, outside: BTreeSet<IfIndex>) -> Self {
        Self { wanted, sort, outside, ..Self::default() }
    }

    /// Adds a path, and what has come by it since the reading before.
    pub fn add(&mut self, path: Seen, came: Count) {
        let (comes, leaves) = (&path.comes, &path.leaves);
        self.paths += u64::from(path.holds);
        let edge = self.edges.entry(comes.edge).or_default();
        edge.paths_in += u64::from(path.holds);
        edge.repeated += came;
        let edge = self.edges.entry(leaves.edge).or_default();
        edge.paths_out += u64::from(path.holds);
        edge.repeated_out += came;
        // What leaves in the name of somebody else, to whom it was for, leaves to the outside.
        if comes.source != leaves.source && comes.destination == leaves.destination {
            self.outside.insert(leaves.edge);
        }
        if !(path.holds || came.packets > 0) || !self.wanted.matches(&path) {
            return;
        }
        self.flows += 1;
        self.add_to((comes.edge, comes.source), |instance| {
            instance.paths += u64::from(path.holds);
            instance.sent += came;
        });
        self.add_to((leaves.edge, leaves.destination), |instance| {
            instance.paths += u64::from(path.holds);
            instance.received += came;
        });
        self.keep(path, came);
    }

    fn add_to(&mut self, (edge, address): (IfIndex, IpAddr), add: impl FnOnce(&mut InstanceSum)) {
        let is_known = self.instances.contains_key(&(edge, address));
        if is_known || !self.outside.contains(&edge) && self.instances.len() < MOST_INSTANCES {
            add(self.instances.entry((edge, address)).or_default());
        }
    }

    /// Keeps the path among those with most.
    fn keep(&mut self, path: Seen, came: Count) {
        let rank = match self.sort {
            Sort::Bits => came.bytes,
            Sort::Packets | Sort::Name => came.packets,
        };
        if self.most.len() < MOST_FLOWS {
            self.most.push(Reverse((rank, path, came.packets, came.bytes)));
        } else if let Some(mut least) = self.most.peek_mut()
            && least.0.0 < rank
        {
            *least = Reverse((rank, path, came.packets, came.bytes));
        }
    }

    /// The instances, without what has turned out to be outside.
    pub fn inside(&self) -> impl Iterator<Item = (&(IfIndex, IpAddr), &InstanceSum)> {
        self.instances.iter().filter(|((edge, _), _)| !self.outside.contains(edge))
    }

    /// The paths that most has come by, in no order.
    pub fn most(&self) -> impl Iterator<Item = (&Seen, Count)> {
        self.most.iter().map(|Reverse((_, path, packets, bytes))| (path, Count::new(*packets, *bytes)))
    }
}

#[cfg(test)]
mod tests;
