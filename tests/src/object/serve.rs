//! What is reached from outside: port forwards, floating addresses, pools; and what the datapath tells of drops.

use std::net::Ipv4Addr;

use aya::maps::lpm_trie::Key;
use natbpf::plan::reverse;
use natbpf_common::IfIndex;
use natbpf_common::contract::forwards::ExternalFlags;
use natbpf_common::contract::forwards::ForwardFlags;
use natbpf_common::contract::notice::Notice;
use natbpf_common::contract::rules::RuleFlags;
use natbpf_common::contract::uplinks::UplinkFlags;
use natbpf_common::contract::{
    forwards::{External, ExternalKey, Forward, ForwardKey, MAX_POOL, Pool},
    gauge::Gauge,
    rules::Rule,
    uplinks::Uplink,
};
use natbpf_common::{Address, Port};
use zerocopy::FromBytes as _;

use super::packet::End;
use super::{LO, Object, uplink};
use crate::GATEWAY;

/// MAC address of the uplink, as its external addresses are told to have.
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xaa];

impl Object {
    /// Gives the uplink these flags ([`UplinkFlags::SERVES`] and its like).
    pub fn set_flags(&mut self, flags: UplinkFlags) {
        self.set_uplinks(&[Uplink { flags, ..uplink(LO, &[&format!("{GATEWAY}/24")]) }]);
    }

    /// A port forward by the gateway's address.
    pub fn forward(&mut self, protocol: u8, port: u16, to: End) {
        let forward = Forward {
            address: to.0.into(),
            port_offset: to.1.wrapping_sub(port),
            flags: ForwardFlags::empty(),
        };
        self.set_forward(ForwardKey::PORT_BITS, (GATEWAY, port), protocol, forward);
        self.set_flags(UplinkFlags::SERVES);
    }

    /// Any entry of the table of forwards, by the length of its prefix.
    pub fn set_forward(&mut self, bits: u32, external: End, protocol: u8, forward: Forward) {
        let key = ForwardKey {
            uplink: IfIndex::new(LO),
            address: external.0.into(),
            protocol,
            reserved: 0,
            port: Port::new(external.1),
        };
        self.programs
            .forwards
            .insert(&Key::new(bits, key), forward, 0)
            .expect("there is room for the forward");
        let forwards = self.programs.tables.forwards().expect("the forwards");
        self.programs.tables.replace_reverse(&reverse(&forwards)).expect("there is room for the forwards");
    }

    /// A floating address. The rule of its instance is for the test to set: [`floating`].
    pub fn float(&mut self, address: Ipv4Addr, inside: Ipv4Addr) {
        let forward = Forward { address: inside.into(), port_offset: 0, flags: ForwardFlags::FIXED };
        self.set_forward(ForwardKey::ADDRESS_BITS, (address, 0), 0, forward);
        self.answer_for(address);
        self.set_flags(UplinkFlags::SERVES);
    }

    /// An external address that the host does not have.
    pub fn answer_for(&mut self, address: Ipv4Addr) {
        let external =
            External { uplink: IfIndex::new(LO), flags: ExternalFlags::ANSWER, mac: MAC, reserved: [0; 2] };
        self.set_external(address, external);
    }

    /// An external address, under its uplink and by itself.
    pub fn set_external(&mut self, address: Ipv4Addr, external: External) {
        for uplink in [LO, 0] {
            let key = ExternalKey { uplink: IfIndex::new(uplink), address: address.into() };
            self.programs.externals.insert(key, external, 0).expect("there is room for the address");
        }
    }

    /// A pool of addresses that the host does not have.
    pub fn set_pool(&mut self, index: u32, addresses: &[Ipv4Addr]) {
        let mut pool = Pool { count: addresses.len() as u32, addresses: [Address::UNSPECIFIED; MAX_POOL] };
        for (place, address) in pool.addresses.iter_mut().zip(addresses) {
            *place = (*address).into();
            self.answer_for(*address);
        }
        self.programs.pools.set(index, pool, 0).expect("the pool can be written");
        self.set_flags(UplinkFlags::SERVES);
    }

    /// What the datapath has told of drops since the last call; the next drop will be told.
    pub fn notices(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        while let Some(item) = self.programs.notices.next() {
            notices.push(Notice::read_from_bytes(&item).expect("a notice"));
        }
        self.programs.tables.set_gauge(Gauge::NoticeAfter, 0).expect("the gauges");
        notices
    }
}

/// The rule of an instance with a floating address.
pub fn floating(address: Ipv4Addr) -> Rule {
    Rule { flags: RuleFlags::FIXED, address: address.into(), ..super::PLAIN }
}
