//! Neighbours and stations of bridges: whether a message says that one is elsewhere now. Most say that it
//! still is where it was.

use std::{collections::HashMap, hash::Hash, net::IpAddr};

use natbpf_common::IfIndex;

use super::source::{LinkAddress, Source};
use crate::netlink::message::{Message, attribute, u16_at, u32_at};

/// Bytes of a `struct ndmsg` (rtnetlink(7)).
const HEADER: usize = 12;

/// Numbers of attributes (linux/neighbour.h).
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_VLAN: u16 = 5;
const NDA_MASTER: u16 = 9;

/// `NTF_PROXY`: the host answers for it, nothing is sent there.
const PROXY: u8 = 8;

/// States in which there is no link layer address (`NUD_INCOMPLETE`, `NUD_FAILED`); `NUD_NONE` is 0.
const WITHOUT_ADDRESS: u16 = 0x01 | 0x20;

/// Who is where.
#[derive(Debug, Default)]
pub struct Neighbours {
    /// By interface index and address.
    addresses: HashMap<(IfIndex, IpAddr), LinkAddress>,
    /// The port, by bridge, VLAN and MAC address.
    stations: HashMap<(IfIndex, u16, LinkAddress), IfIndex>,
    /// There were too many.
    overflowed: bool,
}

impl Neighbours {
    pub fn clear(&mut self) {
        self.addresses.clear();
        self.stations.clear();
    }

    /// Whether some were forgotten since the last call, because there was no room for all: any of them may be
    /// elsewhere by now.
    pub const fn take_overflow(&mut self) -> bool {
        std::mem::replace(&mut self.overflowed, false)
    }

    /// Whom a message is about, if it can be read.
    pub fn source(message: Message<'_>) -> Option<Source> {
        let entry = Entry::of(message)?;
        Some(match libc::c_int::from(entry.family) {
            libc::AF_INET | libc::AF_INET6 => Source::Neighbour(entry.interface, entry.address?),
            _ => Source::Station(entry.interface, entry.vlan, entry.mac?),
        })
    }

    /// Takes over what a message says; true: somebody known is elsewhere now, or gone. More than `limit` of a kind are
    /// [forgotten](Self::take_overflow) together.
    pub fn learn(&mut self, message: Message<'_>, limit: usize) -> bool {
        let Some(entry) = Entry::of(message) else { return true };
        match libc::c_int::from(entry.family) {
            libc::AF_INET | libc::AF_INET6 => self.learn_address(&entry, limit),
            libc::AF_BRIDGE => self.learn_station(&entry, limit),
            _ => false,
        }
    }

    fn learn_address(&mut self, entry: &Entry, limit: usize) -> bool {
        let Some(address) = entry.address else { return true };
        let key = (entry.interface, address);
        // What is sent to a group is not repeated.
        if entry.flags & PROXY != 0 || address.is_multicast() {
            return false;
        }
        match entry.mac {
            Some(link_address) if !entry.gone && entry.state & !WITHOUT_ADDRESS != 0 => {
                self.overflowed |= make_room(&mut self.addresses, &key, limit);
                self.addresses.insert(key, link_address).is_some_and(|old| old != link_address)
            }
            _ => self.addresses.remove(&key).is_some(),
        }
    }

    /// Rows B01, B07 and B08.
    fn learn_station(&mut self, entry: &Entry, limit: usize) -> bool {
        // Without a bridge it is a device's own table, as a VXLAN has, which packets that are sent there pass anyway.
        let Some(bridge) = entry.bridge else { return false };
        let Some(mac) = entry.mac else { return true };
        let key = (bridge, entry.vlan, mac);
        if !entry.gone {
            self.overflowed |= make_room(&mut self.stations, &key, limit);
            return self.stations.insert(key, entry.interface).is_some_and(|old| old != entry.interface);
        }
        // It may have been learnt by another port before this one was forgotten. Rows B02, B27.
        let here = self.stations.get(&key) == Some(&entry.interface);
        if here {
            self.stations.remove(&key);
        }
        here
    }
}

/// True: all are forgotten, because there is no room for one more.
fn make_room<K: Eq + Hash, V>(table: &mut HashMap<K, V>, key: &K, limit: usize) -> bool {
    let full = table.len() >= limit && !table.contains_key(key);
    if full {
        table.clear();
    }
    full
}

fn address(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
}

fn link_address(value: &[u8]) -> LinkAddress {
    let mut padded = LinkAddress::default();
    let length = value.len().min(padded.len());
    padded[..length].copy_from_slice(&value[..length]);
    padded
}

/// What the messages of both tables have in common.
struct Entry {
    family: u8,
    interface: IfIndex,
    state: u16,
    flags: u8,
    gone: bool,
    address: Option<IpAddr>,
    mac: Option<LinkAddress>,
    /// 0: none.
    vlan: u16,
    bridge: Option<IfIndex>,
}

impl Entry {
    fn of(message: Message<'_>) -> Option<Self> {
        let body = message.body;
        let attributes = body.get(HEADER..)?;
        let value = |number| attribute(attributes, number);
        Some(Self {
            family: *body.first()?,
            interface: IfIndex::new(u32_at(body, 4)?),
            state: u16_at(body, 8)?,
            flags: *body.get(10)?,
            gone: message.kind == libc::RTM_DELNEIGH,
            address: value(NDA_DST).and_then(address),
            mac: value(NDA_LLADDR).map(link_address),
            vlan: value(NDA_VLAN).and_then(|value| u16_at(value, 0)).unwrap_or(0),
            bridge: value(NDA_MASTER).and_then(|value| u32_at(value, 0)).map(IfIndex::new),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::{build, messages};

    const REACHABLE: u16 = 0x02;
    const STALE: u16 = 0x04;
    const DELAY: u16 = 0x08;
    const FAILED: u16 = 0x20;
    const INCOMPLETE: u16 = 0x01;

    fn message(
        kind: u16,
        family: libc::c_int,
        interface: u32,
        state: u16,
        attributes: &[Vec<u8>],
    ) -> Vec<u8> {
        let mut body = vec![family as u8, 0, 0, 0];
        body.extend(interface.to_ne_bytes());
        body.extend(state.to_ne_bytes());
        body.extend([0, 1]);
        body.extend(attributes.concat());
        build::message(kind, 0, &body)
    }

    fn neighbour(kind: u16, interface: u32, last: u8, state: u16, mac: Option<u8>) -> Vec<u8> {
        let mut attributes = vec![build::attribute(NDA_DST, &[10, 0, 0, last])];
        attributes.extend(mac.map(|mac| build::attribute(NDA_LLADDR, &[2, 0, 0, 0, 0, mac])));
        message(kind, libc::AF_INET, interface, state, &attributes)
    }

    fn station(kind: u16, port: u32, mac: u8, vlan: Option<u16>) -> Vec<u8> {
        let mut attributes = vec![
            build::attribute(NDA_LLADDR, &[2, 0, 0, 0, 0, mac]),
            build::attribute(NDA_MASTER, &9u32.to_ne_bytes()),
        ];
        attributes.extend(vlan.map(|vlan| build::attribute(NDA_VLAN, &vlan.to_ne_bytes())));
        message(kind, libc::AF_BRIDGE, port, REACHABLE, &attributes)
    }

    fn learn(neighbours: &mut Neighbours, bytes: &[u8]) -> bool {
        neighbours.learn(messages(bytes).next().unwrap().unwrap(), 100)
    }

    const NEW: u16 = libc::RTM_NEWNEIGH;
    const GONE: u16 = libc::RTM_DELNEIGH;

    #[test]
    fn a_neighbour_that_ages_and_is_confirmed_is_where_it_was() {
        let mut table = Neighbours::default();
        for state in [REACHABLE, STALE, DELAY, REACHABLE] {
            assert!(!learn(&mut table, &neighbour(NEW, 3, 5, state, Some(1))), "{state}");
        }
        assert!(!learn(&mut table, &neighbour(NEW, 4, 5, REACHABLE, Some(2))), "at another interface");
        assert!(!learn(&mut table, &neighbour(NEW, 3, 6, INCOMPLETE, None)), "somebody is looked for");
        assert!(!learn(&mut table, &neighbour(NEW, 3, 6, FAILED, None)), "and not found");
        assert!(!learn(&mut table, &neighbour(GONE, 3, 6, FAILED, None)));
    }

    #[test]
    fn another_link_layer_address_counts_and_so_does_losing_it() {
        let mut table = Neighbours::default();
        learn(&mut table, &neighbour(NEW, 3, 5, REACHABLE, Some(1)));
        assert!(learn(&mut table, &neighbour(NEW, 3, 5, REACHABLE, Some(2))));
        assert!(!learn(&mut table, &neighbour(NEW, 3, 5, STALE, Some(2))));
        assert!(learn(&mut table, &neighbour(NEW, 3, 5, FAILED, None)));
        assert!(!learn(&mut table, &neighbour(GONE, 3, 5, FAILED, None)), "told already");
        learn(&mut table, &neighbour(NEW, 3, 5, REACHABLE, Some(2)));
        assert!(learn(&mut table, &neighbour(GONE, 3, 5, STALE, Some(2))));
    }

    #[test]
    fn a_station_counts_when_it_moves() {
        let mut table = Neighbours::default();
        assert!(!learn(&mut table, &station(NEW, 11, 1, None)));
        assert!(!learn(&mut table, &station(NEW, 11, 1, None)), "seen again");
        assert!(!learn(&mut table, &station(NEW, 12, 1, Some(7))), "in another VLAN");
        assert!(learn(&mut table, &station(NEW, 12, 1, None)));
        assert!(!learn(&mut table, &station(GONE, 11, 1, None)), "where it was before");
        assert!(learn(&mut table, &station(GONE, 12, 1, None)));
        assert!(!learn(&mut table, &station(GONE, 12, 1, None)));
    }

    #[test]
    fn the_table_of_a_device_and_other_families_say_nothing() {
        let mut table = Neighbours::default();
        for (family, mac) in [(libc::AF_BRIDGE, 1), (libc::AF_BRIDGE, 2), (libc::AF_PACKET, 3)] {
            let attributes = [build::attribute(NDA_LLADDR, &[2, 0, 0, 0, 0, mac])];
            assert!(!learn(&mut table, &message(NEW, family, 20, REACHABLE, &attributes)));
            assert!(!learn(&mut table, &message(GONE, family, 20, REACHABLE, &attributes)));
        }
    }

    #[test]
    fn neighbours_of_ipv6_count_and_groups_do_not() {
        let mut table = Neighbours::default();
        let mut learn_v6 = |first: u8, mac: u8| {
            let address = [&[first][..], &[0; 14], &[5]].concat();
            let attributes =
                [build::attribute(NDA_DST, &address), build::attribute(NDA_LLADDR, &[2, 0, 0, 0, 0, mac])];
            learn(&mut table, &message(NEW, libc::AF_INET6, 3, REACHABLE, &attributes))
        };
        assert_eq!([1, 1, 2].map(|mac| learn_v6(0xfd, mac)), [false, false, true]);
        assert_eq!([1, 2].map(|mac| learn_v6(0xff, mac)), [false, false], "a group");
    }

    #[test]
    fn more_than_there_is_room_for_are_forgotten() {
        let mut table = Neighbours::default();
        let mut forgets = |last: u8| {
            assert!(!learn(&mut table, &neighbour(NEW, 3, last, REACHABLE, Some(last))), "{last}");
            assert!(table.addresses.len() <= 100);
            table.take_overflow()
        };
        assert_eq!((0..=250).filter(|last| forgets(*last)).collect::<Vec<u8>>(), [100, 200]);
    }

    #[test]
    fn what_cannot_be_read_counts() {
        let mut table = Neighbours::default();
        assert!(learn(&mut table, &build::message(NEW, 0, &[2, 0, 0, 0])));
        assert!(learn(&mut table, &message(NEW, libc::AF_INET, 3, REACHABLE, &[])));
    }
}
