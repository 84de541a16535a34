//! The difference of two readings.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    time::{Duration, Instant},
};

use natbpf_common::{
    IfIndex,
    contract::counter::{Counter, Counters, DropReason, Kind},
};

use super::{
    count::{Count, per_second, share},
    report::{Begun, DropRow, EdgeRow, EndsRow, FlowRow, InstanceRow, Lost, Repeated, Report, TableUse},
    sums::{Ends, Sums},
};

/// All that is counted, at about one time.
#[derive(Debug)]
pub struct Reading {
    pub at: Instant,
    /// Which datapath it is of: another one counts from nothing on.
    pub datapath: (u64, u64),
    pub uptime: Option<Duration>,
    pub daemon_running: bool,
    pub offload: bool,
    pub counters: Counters,
    pub devices: BTreeMap<IfIndex, Device>,
    /// Which of them are edges.
    pub edges: BTreeSet<IfIndex>,
    /// Of paths, since the reading before.
    pub sums: Sums,
    /// Flows of natbpf's own NAT, by inside address.
    pub flows: HashMap<IpAddr, u64>,
    pub tables: Vec<TableUse>,
}

/// What a device has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    pub received: Count,
    pub sent: Count,
}

/// What has come between two readings; `None`: they are of different datapaths.
pub fn rates(before: &Reading, now: &Reading) -> Option<Report> {
    if before.datapath != now.datapath {
        return None;
    }
    let seconds = now.at.saturating_duration_since(before.at).as_secs_f64();
    let between = Between { before, now, seconds };
    Some(Report {
        daemon_running: now.daemon_running,
        offload: now.offload,
        uptime_seconds: now.uptime.map(|uptime| uptime.as_secs()),
        interval_seconds: seconds,
        repeated: between.repeated(),
        begun: between.begun(),
        lost: between.lost(),
        tables: now.tables.clone(),
        edges: between.edges(),
        instances: between.instances(),
        flows: between.flows(),
        flows_matching: now.sums.flows,
        drops: between.drops(),
        ..Report::default()
    })
}

struct Between<'a> {
    before: &'a Reading,
    now: &'a Reading,
    seconds: f64,
}

impl Between<'_> {
    fn counted(&self, counter: Counter) -> u64 {
        let at = |reading: &Reading| Count::new(reading.counters[counter as usize], 0);
        at(self.now).since(at(self.before)).packets
    }

    fn repeated(&self) -> Repeated {
        let [packets, left] = [Counter::PacketsRepeated, Counter::PacketsLeft].map(|one| self.counted(one));
        Repeated {
            packets,
            packets_per_second: per_second(packets, self.seconds),
            left_packets: left,
            left_packets_per_second: per_second(left, self.seconds),
            share: share(packets, packets.saturating_add(left)),
        }
    }

    fn begun(&self) -> Begun {
        let [flows, paths] = [Counter::FlowsCreated, Counter::PathsNoted].map(|one| self.counted(one));
        let [flows_per_second, paths_per_second] =
            [flows, paths].map(|count| per_second(count, self.seconds));
        Begun { flows, flows_per_second, paths, paths_per_second }
    }

    fn lost(&self) -> Lost {
        let [paths, crossings] = [Counter::PathsCrowded, Counter::CrossingsLost].map(|one| self.counted(one));
        Lost { paths, crossings, per_second: per_second(paths.saturating_add(crossings), self.seconds) }
    }

    fn name(&self, interface: IfIndex) -> String {
        let device = self.now.devices.get(&interface);
        device.map_or_else(|| format!("if{interface}"), |device| device.name.clone())
    }

    fn edges(&self) -> Vec<EdgeRow> {
        let row = |&interface: &IfIndex| {
            let known = self.before.devices.get(&interface);
            let device = self.now.devices.get(&interface);
            // One that has just come has counted nothing that is known.
            let came = |count: fn(&Device) -> Count| {
                known
                    .zip(device)
                    .map_or(Count::default(), |(known, device)| count(device).since(count(known)))
            };
            let (inward, outward) = (came(|device| device.received), came(|device| device.sent));
            let sum = self.now.sums.edges.get(&interface).copied().unwrap_or_default();
            EdgeRow {
                name: self.name(interface),
                interface: interface.number(),
                outside: self.now.sums.outside.contains(&interface),
                inward: inward.rate(self.seconds),
                // A virtual device counts nothing that XDP sends by it, and nothing that goes straight to its peer.
                outward: outward.max(sum.repeated_out).rate(self.seconds),
                repeated: sum.repeated.rate(self.seconds),
                share_repeated: share(sum.repeated.bytes, inward.bytes),
                paths_in: sum.paths_in,
                paths_out: sum.paths_out,
            }
        };
        self.now.edges.iter().map(row).collect()
    }

    fn instances(&self) -> Vec<InstanceRow> {
        let mut flows = self.now.flows.clone();
        let mut rows = Vec::new();
        for (&(edge, address), sum) in self.now.sums.inside() {
            rows.push(InstanceRow {
                address,
                edge: Some(self.name(edge)),
                flows: flows.remove(&address).unwrap_or_default(),
                paths: sum.paths,
                sent: sum.sent.rate(self.seconds),
                received: sum.received.rate(self.seconds),
            });
        }
        let none = Count::default().rate(self.seconds);
        rows.extend(flows.into_iter().map(|(address, flows)| InstanceRow {
            address,
            edge: None,
            flows,
            paths: 0,
            sent: none,
            received: none,
        }));
        rows
    }

    fn flows(&self) -> Vec<FlowRow> {
        let ends = |ends: &Ends| EndsRow {
            edge: self.name(ends.edge),
            source: ends.source,
            destination: ends.destination,
            source_port: ends.source_port,
            destination_port: ends.destination_port,
        };
        let row = |(path, came): (&super::sums::Seen, Count)| FlowRow {
            protocol_number: path.protocol,
            comes: ends(&path.comes),
            leaves: ends(&path.leaves),
            rate: came.rate(self.seconds),
        };
        self.now.sums.most().map(row).collect()
    }

    fn drops(&self) -> Vec<DropRow> {
        let reasons = DropReason::ALL.iter().filter(|reason| reason.counter().kind() == Kind::Drop);
        let rows = reasons.map(|reason| {
            let (counter, packets) = (reason.counter(), self.counted(reason.counter()));
            DropRow {
                cause: counter.name(),
                packets,
                packets_per_second: per_second(packets, self.seconds),
                total: self.now.counters[counter as usize],
                help: counter.help().trim(),
                advice: reason.advice(),
            }
        });
        rows.filter(|row| row.total > 0).collect()
    }
}

#[cfg(test)]
mod tests;
