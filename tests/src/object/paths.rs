//! Paths, as the datapath would have noted them.

use natbpf::clock;
use natbpf::datapath::Hook;
use natbpf::obstacles::{Obstacle, Traffic, reserved};
use natbpf_common::contract::gauge::Gauge;
use natbpf_common::flow::life::Life;
use natbpf_common::flow::{Direction, FlowKey, Traits};
use natbpf_common::path::cell::{Change, Exit, Path, PathFlags};
use natbpf_common::path::family::{PathKeys, Repeatable as _};
use natbpf_common::path::frame::Frame;
use natbpf_common::path::key::{ANSWER, PathKey};
use natbpf_common::path::passage::{Passage, slot_of};
use natbpf_common::path::set::{home_of, set_of, tag_of};
use natbpf_common::path::sums::{self, Sums};
use natbpf_common::wire::family::V4;
use natbpf_common::wire::protocol::ICMP;
use natbpf_common::{IfIndex, Nanoseconds, SECOND, Timestamp};

use super::{Context, LO, Object, Packet, Step};
use crate::VM1;

/// Destination and source with which repeated frames leave.
pub const NEXT_HOP: [u8; 12] = [2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 2];

const EPOCH: u32 = 7;

fn words(bytes: &[u8]) -> [u32; 3] {
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    [word(0), word(4), word(8)]
}

/// Destination and source of the frames of [`Packet::bytes`].
pub(super) fn own_addresses() -> [u32; 3] {
    words(&Packet::udp((VM1, 1), (VM1, 1)).bytes())
}

/// Any, but always the same.
fn keys() -> PathKeys {
    let mut number = 1u64;
    let numbers: [[[u64; 7]; 2]; 3] = std::array::from_fn(|_| {
        std::array::from_fn(|_| {
            std::array::from_fn(|_| {
                number = number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                number
            })
        })
    });
    zerocopy::transmute!(numbers)
}

impl Object {
    /// Has packets repeated.
    pub fn offload(&mut self) {
        self.repeat_for(10 * SECOND, EPOCH);
    }

    /// Has packets repeated for so long after the kernel has been asked, under an epoch.
    pub fn repeat_for(&mut self, revalidate: Nanoseconds, epoch: u32) {
        self.programs.tables.set_repeat(revalidate, || Ok(keys())).expect("it can be written");
        self.set_gauge(Gauge::Epoch, u64::from(epoch));
        self.programs.repeats = true;
    }

    /// Has rules of the host see every packet of this traffic.
    pub fn reserve(&mut self, traffic: Traffic) {
        let (place, name, what) = (String::new(), String::new(), String::new());
        let words = reserved(&[Obstacle { place, name, what, traffic }]);
        self.programs.reserved.write(&words).expect("it can be written");
    }

    /// Another epoch: nothing that was noted holds.
    pub fn next_epoch(&mut self) {
        self.set_gauge(Gauge::Epoch, self.gauge(Gauge::Epoch) + 1);
    }

    fn path_keys(&self) -> PathKeys {
        self.programs.tables.repeat().expect("it can be read").keys
    }

    /// The packet of a claim, as it was remembered where it came in.
    pub fn passage(&self, claim: u64) -> Passage {
        self.programs.passages.get(&slot_of(claim), 0).expect("a slot")
    }

    /// How many packets were remembered.
    pub fn claims(&self) -> u64 {
        self.programs.claims.get(&0, 0).expect("its only value")[0]
    }

    /// What the path of a direction of a flow would be whose frames come in by `lo` as [`Packet::bytes`] makes them,
    /// and leave by it: packets of up to 1500 bytes, for ten seconds.
    ///
    /// # Panics
    /// If there is no such flow.
    #[track_caller]
    pub fn path(&self, key: &FlowKey) -> Path {
        self.tagged_path(key, 0)
    }

    /// The same of frames that come in with a tag.
    #[track_caller]
    fn tagged_path(&self, key: &FlowKey, vlan: u32) -> Path {
        let rewrite = self.entry(key).expect("an entry of the flow table").rewrite();
        let out = key.direction() == Direction::Original;
        let lo = IfIndex::new(LO);
        let frame = Frame { interface: lo, ethernet: own_addresses(), vlan, service: 0, time_to_live: 63 };
        let key = PathKey {
            edge: lo,
            vlan,
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            protocol: u32::from(key.protocol) | if key.protocol == ICMP && !out { ANSWER } else { 0 },
        };
        let mut new = key;
        if out {
            (new.source, new.source_port) = (rewrite.address, rewrite.port);
            if rewrite.has_outside_port() {
                new.destination_port = rewrite.outside_port;
            }
        } else {
            (new.destination, new.destination_port) = (rewrite.address, rewrite.port);
            if rewrite.has_outside_port() {
                new.source_port = rewrite.outside_port;
            }
        }
        let addresses = V4::difference((key.source, key.destination), (new.source, new.destination));
        let ports = sums::difference(&[key.ports()], &[new.ports()]);
        Path {
            key,
            frame: frame.fingerprint(&self.path_keys()[2]) | 1,
            until: clock::now() + 10 * SECOND,
            epoch: self.gauge(Gauge::Epoch).wrapping_add(self.gauge(Gauge::Ended)) as u32,
            size: 1500,
            hops: 1,
            flags: if out { PathFlags::OUT } else { PathFlags::IN },
            change: Change {
                sums: Sums { addresses, ports },
                source: new.source,
                destination: new.destination,
                source_port: new.source_port,
                destination_port: new.destination_port,
            },
            exit: Exit { edge: lo, ethernet: words(&NEXT_HOP), vlan: 0, mark: 0, priority: 0 },
            ..Path::default()
        }
    }

    /// Notes the path of a direction of a flow; `change` makes it another than [`Object::path`].
    #[track_caller]
    pub fn note(&mut self, key: &FlowKey, change: impl FnOnce(&mut Path)) {
        assert!(self.try_note(key, change), "no cell is free");
    }

    /// As [`Object::note`]; false: there is no room, as there may be none for the datapath.
    #[track_caller]
    pub fn try_note(&mut self, key: &FlowKey, change: impl FnOnce(&mut Path)) -> bool {
        let mut path = self.path(key);
        let hash = V4::digest(&path.key, &self.path_keys());
        change(&mut path);
        self.store(hash, path)
    }

    /// What the datapath does where it notes the path of a direction of a flow: to the flow all packets until then have
    /// come already.
    pub fn run_until(&mut self, key: &FlowKey, until: Timestamp) {
        let Some(entry) = self.entry(key) else { return };
        let original =
            key.direction() == Direction::Reply && !entry.traits.intersects(Traits::OUTBOUND_REFRESH);
        for key in [Some(*key), original.then(|| key.peer(entry.rewrite()))].into_iter().flatten() {
            if let Some(mut entry) = self.entry(&key)
                && Life::age(entry.life, until).is_some()
            {
                entry.life = Life::Live(until).to_word();
                self.programs.flows.insert(key, entry, 0).expect("the entry can be written");
            }
        }
    }

    /// Notes it for frames that come in with one tag, and leave with another; 0: none.
    #[track_caller]
    pub fn note_tagged(&mut self, key: &FlowKey, before: u32, after: u32) {
        let mut path = self.tagged_path(key, before);
        path.exit.vlan = after;
        assert!(self.store(V4::digest(&path.key, &self.path_keys()), path), "no cell is free");
    }

    /// False: all cells of its set are taken.
    fn store(&mut self, hash: u64, path: Path) -> bool {
        let Some((set, way)) = self.find(hash) else { return false };
        let mut cells = self.programs.paths.get(&set, 0).expect("a set");
        cells.tags[way] = tag_of(hash);
        cells.cells[way].0 = path;
        self.programs.paths.set(set, cells, 0).expect("a set");
        true
    }

    /// What is noted for the path of a direction of a flow.
    #[track_caller]
    pub fn noted(&self, key: &FlowKey) -> Option<Path> {
        let path = self.path(key);
        let (set, way) = self.find(V4::digest(&path.key, &self.path_keys()))?;
        let found = self.programs.paths.get(&set, 0).expect("a set").cells[way].0;
        (found.key == path.key).then_some(found)
    }

    /// The set of a hash, and the cell that has it, or else one that is free.
    fn find(&self, hash: u64) -> Option<(u32, usize)> {
        let set = set_of(hash, self.programs.paths.len());
        let tags = self.programs.paths.get(&set, 0).expect("a set").tags;
        let home = home_of(hash) as usize;
        let free = if tags[home] == 0 { Some(home) } else { tags.iter().position(|tag| *tag == 0) };
        let way = tags.iter().position(|tag| *tag == tag_of(hash)).or(free);
        Some((set, way?))
    }

    /// A packet of an instance arrives at its port.
    pub fn port(&mut self, packet: &Packet) -> Step {
        self.step(Hook::PortIngress, &packet.bytes(), Context::default())
    }

    /// `lo` takes frames of XDP programs, or not.
    pub fn set_xdp_target(&mut self, takes: bool) {
        let map = &mut self.programs.xdp_targets;
        if takes {
            map.insert(LO, LO, None, 0).expect("the map has room");
        } else {
            let _ = map.remove(LO);
        }
    }
}
