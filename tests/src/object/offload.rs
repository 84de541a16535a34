//! Ways of flows, as the datapath would have noted them. (A test run takes no `tc_index`, so the noting
//! itself is tested end to end.)

use natbpf::clock;
use natbpf_common::IfIndex;
use natbpf_common::SECOND;
use natbpf_common::contract::gauge::Gauge;
use natbpf_common::flow::{Direction, FlowKey};
use natbpf_common::keyed::Keys;
use natbpf_common::path::crossing::{Crossing, slot};
use natbpf_common::{
    flow::offload::{NotedPort, Offload, PortFlags, Validity},
    path::frame::Frame,
};

use super::{Context, LO, Object, Packet, Step};
use crate::VM1;
use natbpf::datapath::Hook;

/// Destination and source with which offloaded frames leave.
pub const NEXT_HOP: [u8; 12] = [2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 2];

const EPOCH: u16 = 7;

fn words(bytes: &[u8]) -> [u32; 3] {
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    [word(0), word(4), word(8)]
}

/// Destination and source of the frames of [`Packet::bytes`].
pub(super) fn own_addresses() -> [u32; 3] {
    words(&Packet::udp((VM1, 1), (VM1, 1)).bytes())
}

/// What is noted of a direction whose frames come in by `lo` as [`Packet::bytes`] makes them, and leave by
/// it: packets of up to 1500 bytes, for ten seconds.
pub fn noted(direction: Direction, keys: &Keys) -> Offload {
    let frame = Frame { interface: IfIndex::new(LO), ethernet: own_addresses(), vlan: 0, service: 0 };
    let frame = match direction {
        Direction::Original => frame,
        Direction::Reply => frame.without_source(),
    };
    let validity = Validity::new(clock::now().tick(), (10 * SECOND).ticks(), EPOCH, 1500);
    Offload {
        validity: validity.to_word(),
        port: NotedPort::new(IfIndex::new(LO), PortFlags::empty()),
        frame: frame.fingerprint(keys),
        ethernet: words(&NEXT_HOP),
    }
}

impl Object {
    /// Turns offload on.
    pub fn offload(&mut self) {
        self.set_gauge(Gauge::Epoch, u64::from(EPOCH));
    }

    /// The keys of the fingerprints.
    pub fn keys(&self) -> Keys {
        self.programs.tables.settings().expect("the settings").keys
    }

    /// The packet of a claim, as it was remembered where it came in.
    pub fn crossing(&self, claim: u64) -> Crossing {
        self.programs.crossings.get(&slot(claim), 0).expect("a slot")
    }

    /// Another epoch: nothing that was noted holds.
    pub fn next_epoch(&mut self) {
        self.set_gauge(Gauge::Epoch, u64::from(EPOCH) + 1);
    }

    /// Notes the way of a direction of a packet's flow; `change` makes it another than [`noted`].
    #[track_caller]
    pub fn note(&mut self, key: &FlowKey, change: impl FnOnce(&mut Offload)) {
        let mut offload = noted(key.direction(), &self.keys());
        change(&mut offload);
        self.change(key, |entry| entry.offload = offload);
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
