//! Forwards as they are asked for from inside: which external endpoint leads to an inside one. What its owner
//! begins by itself leaves from there, so that its peers reach it where it said to be (SIP,
//! WireGuard).

use std::collections::BTreeSet;

use natbpf_common::{
    Port,
    contract::forwards::{Forward, ForwardKey},
};

use super::{
    forward::{BASE, ForwardEntry, range},
    ports,
};

/// The entries of the map that is asked from inside. Where several external endpoints lead to one inside endpoint,
/// that of the narrower range of ports counts, as in the other direction; of equal ones the first.
pub fn reverse(forwards: &[ForwardEntry]) -> Vec<ForwardEntry> {
    let mut seen = BTreeSet::new();
    let mut reversed = Vec::new();
    // Floating addresses have rules of their own.
    for (length, key, forward) in forwards.iter().filter(|(length, ..)| *length >= BASE) {
        let (first, last) = range(*length, key);
        let moved = |port: u16| port.wrapping_add(forward.port_offset);
        for (first, last) in in_order(moved(first), moved(last)) {
            for prefix in ports::prefixes(first, last) {
                let inside = ForwardKey { address: forward.address, port: Port::new(prefix.first), ..*key };
                let place =
                    (inside.uplink, inside.address.to_wire(), inside.protocol, prefix.first, prefix.length);
                if seen.insert(place) {
                    let back = Forward {
                        address: key.address,
                        port_offset: forward.port_offset.wrapping_neg(),
                        flags: forward.flags,
                    };
                    reversed.push((BASE + u32::from(prefix.length), inside, back));
                }
            }
        }
    }
    reversed
}

/// A range of ports that may go on at 0 after 65535, as ranges that do not.
fn in_order(first: u16, last: u16) -> Vec<(u16, u16)> {
    if first <= last { vec![(first, last)] } else { vec![(first, u16::MAX), (0, last)] }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use natbpf_common::{Address, IfIndex, contract::forwards::ForwardFlags, wire::protocol::UDP};
    use proptest::prelude::*;

    use super::*;

    fn entries(first: u16, last: u16, offset: u16) -> Vec<ForwardEntry> {
        let forward = Forward {
            address: Address::from(Ipv4Addr::new(10, 0, 0, 2)),
            port_offset: offset,
            flags: ForwardFlags::empty(),
        };
        let address = Address::from(Ipv4Addr::new(203, 0, 113, 1));
        let entry = |prefix: ports::PortPrefix| {
            let key = ForwardKey {
                uplink: IfIndex::new(2),
                address,
                protocol: UDP,
                reserved: 0,
                port: Port::new(prefix.first),
            };
            (BASE + u32::from(prefix.length), key, forward)
        };
        ports::prefixes(first, last).into_iter().map(entry).collect()
    }

    /// As the datapath looks one up.
    fn lookup(entries: &[ForwardEntry], port: u16) -> Option<u16> {
        let matching = entries.iter().filter(|(length, key, _)| {
            let (first, last) = range(*length, key);
            (first..=last).contains(&port)
        });
        matching
            .max_by_key(|(length, ..)| *length)
            .map(|(.., forward)| port.wrapping_add(forward.port_offset))
    }

    proptest! {
        #[test]
        fn from_inside_one_finds_the_port_that_leads_there(a: u16, b: u16, offset: u16, port: u16) {
            let forwards = entries(a.min(b), a.max(b), offset);
            let reversed = reverse(&forwards);
            match lookup(&forwards, port) {
                Some(inside) => prop_assert_eq!(lookup(&reversed, inside), Some(port)),
                None => prop_assert_eq!(lookup(&reversed, port.wrapping_add(offset)), None),
            }
        }
    }

    #[test]
    fn of_two_that_lead_to_the_same_the_narrower_or_the_first_counts() {
        let forwards =
            [entries(8080, 8080, 0u16.wrapping_sub(8000)), entries(8081, 8081, 0u16.wrapping_sub(8001))]
                .concat();
        assert_eq!(lookup(&reverse(&forwards), 80), Some(8080));
        let narrower = [entries(8000, 8015, 0), entries(443, 443, 8001 - 443)].concat();
        assert_eq!(lookup(&reverse(&narrower), 8001), Some(443));
        assert_eq!(lookup(&reverse(&narrower), 8002), Some(8002));
    }
}
