//! Reading all counters at about one time. Nothing is written.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Result, bail};
use natbpf_common::{
    Address, IfIndex, Timestamp,
    contract::edges::EdgeFlags,
    path::cell::Path,
    time::Tick,
    wire::family::{V4, V6},
};

use super::{
    census::Census,
    count::Count,
    marks::{Marks, Sighting},
    order::Sort,
    rates::{Device, Reading},
    report::TableUse,
    sums::{Seen, Sums, Wanted},
};
use crate::{
    clock,
    datapath::{Mapped, Pins, Placed, Role, Tables, attached},
    network::{Link, Meter, Network},
    paths::Shows,
};

/// A map that every datapath has, and keeps as long as it is there.
const LASTING: &str = "COUNTERS";

/// Kinds of virtual devices that are no instance's: they stand for a NIC.
const NICS: [&str; 4] = ["bond", "team", "vlan", "macvlan"];

/// Reads one datapath after another, as they are attached.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct Reader {
    pins: Pins,
    network: Network,
    wanted: Wanted,
    open: Option<Open>,
}

/// A datapath, and what is known of it from the reading before.
struct Open {
    tables: Tables,
    datapath: (u64, u64),
    // Mapping them takes as long as reading them does.
    paths: Mapped<V4>,
    paths6: Mapped<V6>,
    marks: Marks,
    marks6: Marks,
    /// When the last reading began.
    last: Option<Tick>,
    /// Edges that translation has shown to be outside.
    outside: BTreeSet<IfIndex>,
    census: Census,
}

impl Reader {
    /// Needs a Tokio runtime, and opens nothing of the datapath yet.
    pub fn new(pins: Pins, wanted: Wanted) -> Result<Self> {
        Ok(Self { pins, network: Network::open()?, wanted, open: None })
    }

    /// `sort` says which flows are told one by one.
    pub async fn read(&mut self, sort: Sort) -> Result<Reading> {
        // Nothing is kept of one that has gone.
        let known = self.open.take();
        let (datapath, began) = identity(&self.pins)?;
        let mut open = match known.filter(|open| open.datapath == datapath) {
            Some(open) => open,
            None => Open::new(&self.pins, datapath)?,
        };
        let meters = self.network.meters().await?;
        let reading = open.read(&self.pins, &meters, self.wanted, sort, began)?;
        self.open = Some(open);
        Ok(reading)
    }
}

/// Which datapath is pinned, and when that was done.
fn identity(pins: &Pins) -> Result<((u64, u64), Option<SystemTime>)> {
    match fs::metadata(pins.path(LASTING)) {
        Ok(pinned) => Ok(((pinned.dev(), pinned.ino()), pinned.modified().ok())),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            bail!("the datapath cannot be read as this user; run natbpf as root")
        }
        // The sentence for this is that of the tables.
        Err(_) => Tables::open(pins).map(|_| ()).and_then(|()| bail!("natbpf is being attached just now")),
    }
}

impl Open {
    fn new(pins: &Pins, datapath: (u64, u64)) -> Result<Self> {
        let tables = Tables::open(pins)?;
        let (paths, paths6, _) = tables.paths()?;
        Ok(Self {
            marks: Marks::new(paths.room()),
            marks6: Marks::new(paths6.room()),
            tables,
            datapath,
            paths,
            paths6,
            last: None,
            outside: BTreeSet::new(),
            census: Census::default(),
        })
    }

    fn read(
        &mut self,
        pins: &Pins,
        meters: &[Meter],
        wanted: Wanted,
        sort: Sort,
        began: Option<SystemTime>,
    ) -> Result<Reading> {
        let at = Instant::now();
        let counters = self.tables.counters()?;
        let edges = self.edges(pins)?;
        let outside = self.known_outside(meters)?;
        let sums = self.sum(Sums::new(wanted, sort, outside))?;
        let room = (self.paths.room() + self.paths6.room()) as u64;
        self.census.go_on(&self.tables, &wanted, &self.own(&edges)?)?;
        let mut tables = self.census.tables(&self.tables)?;
        tables.push(TableUse::new("paths", sums.paths, room));
        Ok(Reading {
            at,
            datapath: self.datapath,
            uptime: began.and_then(|began| began.elapsed().ok()),
            daemon_running: pins.locked()?,
            offload: self.tables.epoch()? != 0,
            counters,
            devices: meters.iter().map(|meter| (meter.link.index, Device::from(meter))).collect(),
            edges,
            sums,
            flows: self.census.flows(),
            tables,
        })
    }

    /// What is attached to, whether packets are repeated or not.
    fn edges(&self, pins: &Pins) -> Result<BTreeSet<IfIndex>> {
        let mut edges: BTreeSet<IfIndex> = self.tables.edges()?.into_keys().collect();
        let places = attached(pins)?.into_iter().filter(|(_, role)| *role != Role::Inside);
        edges.extend(places.map(|(interface, _)| interface));
        Ok(edges)
    }

    fn known_outside(&self, meters: &[Meter]) -> Result<BTreeSet<IfIndex>> {
        let nics = meters.iter().filter(|meter| is_nic(&meter.link)).map(|meter| meter.link.index);
        let mut outside: BTreeSet<IfIndex> = self.outside.iter().copied().chain(nics).collect();
        for (interface, edge) in self.tables.edges()? {
            if edge.flags.contains(EdgeFlags::UPLINK) {
                outside.insert(interface);
            }
        }
        Ok(outside)
    }

    /// Addresses of uplinks.
    fn own(&self, edges: &BTreeSet<IfIndex>) -> Result<Vec<Address>> {
        let uplinks = self.tables.uplinks()?;
        let of_edge = |edge: &IfIndex| {
            let uplink = uplinks.find(*edge)?;
            Some(uplink.addresses.iter().take(uplink.address_count as usize).map(|address| address.local))
        };
        Ok(edges.iter().filter_map(of_edge).flatten().collect())
    }

    /// Goes through all paths.
    fn sum(&mut self, mut sums: Sums) -> Result<Sums> {
        let (now, epoch) = (clock::now(), self.tables.paths_epoch()?);
        let before = self.last.replace(now.tick());
        let moment = Moment { now, epoch, before };
        sweep(&self.paths, moment, &mut self.marks, &mut sums);
        sweep(&self.paths6, moment, &mut self.marks6, &mut sums);
        self.outside.extend(&sums.outside);
        Ok(sums)
    }
}

/// When a table is gone through.
#[derive(Clone, Copy)]
struct Moment {
    now: Timestamp,
    epoch: u32,
    before: Option<Tick>,
}

fn sweep<F: Shows>(table: &Mapped<F>, moment: Moment, marks: &mut Marks, sums: &mut Sums) {
    let Moment { now, epoch, before } = moment;
    table.each_placed(now, |Placed { number, tag }, path: &Path<F>, _| {
        let count = Count::new(path.packets, path.bytes);
        let came = marks.put(number, Sighting { tag, since: path.since, count }, before);
        sums.add(Seen::of(path, now, epoch), came);
    });
}

fn is_nic(link: &Link) -> bool {
    link.name != "lo" && link.kind.as_deref().is_none_or(|kind| NICS.contains(&kind))
}

impl From<&Meter> for Device {
    fn from(meter: &Meter) -> Self {
        Self {
            name: meter.link.name.clone(),
            received: Count::new(meter.received_packets, meter.received_bytes),
            sent: Count::new(meter.sent_packets, meter.sent_bytes),
        }
    }
}

/// So long to rest after a reading that has taken so long: whatever the tables, it is a fifth of the time at most.
pub fn rest(interval: Duration, took: Duration) -> Duration {
    interval.saturating_sub(took).max(took * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nic_is_what_has_no_kind_or_stands_for_one() {
        let link = |name: &str, kind: Option<&str>| Link {
            name: name.to_owned(),
            kind: kind.map(str::to_owned),
            ..Link::default()
        };
        for (name, kind) in [("eth0", None), ("bond0", Some("bond")), ("eth0.7", Some("vlan"))] {
            assert!(is_nic(&link(name, kind)), "{name}");
        }
        for (name, kind) in [("lo", None), ("vnet0", Some("tun")), ("veth1", Some("veth"))] {
            assert!(!is_nic(&link(name, kind)), "{name}");
        }
    }

    #[test]
    fn slow_readings_are_seldom() {
        let milliseconds = Duration::from_millis;
        assert_eq!(rest(milliseconds(1000), milliseconds(10)), milliseconds(990));
        assert_eq!(rest(milliseconds(1000), milliseconds(500)), milliseconds(2000));
        assert_eq!(rest(milliseconds(100), milliseconds(300)), milliseconds(1200));
    }
}
