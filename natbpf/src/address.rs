//! Which addresses an uplink masquerades with: those that iptables MASQUERADE would take
//! (`nf_nat_masquerade_ipv4` asks `inet_select_addr` of the kernel's `net/ipv4/devinet.c` for one of scope
//! universe).

use std::net::Ipv4Addr;

use natbpf_common::{
    Address, IfIndex,
    contract::uplinks::{MAX_ADDRESSES, UplinkAddress},
};

use crate::network::{Ipv4Address, Snapshot};

/// The addresses that the datapath chooses from, the preferred one first; [`MAX_ADDRESSES`] at most. Empty:
/// there is nothing to translate to.
///
/// An interface without a usable address borrows the first one of the other interfaces, as a network of its
/// own. Row M06.
pub fn masquerade_addresses(snapshot: &Snapshot, interface: IfIndex) -> Vec<UplinkAddress> {
    let own: Vec<_> = own_addresses(snapshot, interface).take(MAX_ADDRESSES).map(uplink_address).collect();
    if own.is_empty() { borrowed_address(snapshot, interface).map(borrow).into_iter().collect() } else { own }
}

/// The usable addresses of the interface itself, however many.
pub fn own_addresses(snapshot: &Snapshot, interface: IfIndex) -> impl Iterator<Item = &Ipv4Address> {
    snapshot.addresses.iter().filter(move |address| address.interface == interface && usable(address))
}

/// The address of another interface that stands in where the interface has none.
///
/// The kernel asks its list of devices, which is in the order of their making, as their indexes are.
pub fn borrowed_address(snapshot: &Snapshot, interface: IfIndex) -> Option<&Ipv4Address> {
    if snapshot.waiting.contains(&interface) {
        return None;
    }
    snapshot
        .addresses
        .iter()
        .filter(|address| address.interface != interface && usable(address))
        .min_by_key(|address| address.interface)
}

/// `inet_select_addr` and `in_dev_select_addr` skip secondary addresses and every scope narrower than the one
/// asked for.
fn usable(address: &Ipv4Address) -> bool {
    !address.secondary && address.scope == Ipv4Address::SCOPE_GLOBAL
}

/// The subnet is that of the peer on a point-to-point link (`inet_ifa_match` compares with `ifa_address`).
fn uplink_address(address: &Ipv4Address) -> UplinkAddress {
    let mask = Address::mask(address.prefix_length);
    UplinkAddress {
        local: Address::from(address.local),
        network: Address::from(address.peer).masked(mask),
        mask,
    }
}

fn borrow(address: &Ipv4Address) -> UplinkAddress {
    let local = Address::from(address.local);
    UplinkAddress { local, network: local, mask: Address::from(Ipv4Addr::BROADCAST) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(interface: u32, network: &str) -> Ipv4Address {
        let network: ipnet::Ipv4Net = network.parse().unwrap();
        Ipv4Address {
            interface: IfIndex::new(interface),
            local: network.addr(),
            peer: network.addr(),
            prefix_length: network.prefix_len(),
            scope: Ipv4Address::SCOPE_GLOBAL,
            secondary: false,
        }
    }

    fn chosen(addresses: Vec<Ipv4Address>, interface: u32) -> Vec<String> {
        let snapshot = Snapshot { addresses, ..Snapshot::default() };
        masquerade_addresses(&snapshot, IfIndex::new(interface))
            .iter()
            .map(|address| format!("{} in {}/{}", address.local, address.network, address.mask))
            .collect()
    }

    const LOOPBACK: u32 = 1;
    const WAN: u32 = 3;

    fn loopback() -> Ipv4Address {
        Ipv4Address { scope: Ipv4Address::SCOPE_HOST, ..address(LOOPBACK, "127.0.0.1/8") }
    }

    /// Row M04.
    #[test]
    fn primary_addresses_in_the_order_of_the_kernel() {
        let addresses = vec![
            loopback(),
            address(WAN, "203.0.113.1/24"),
            address(WAN, "198.18.0.1/24"),
            Ipv4Address { secondary: true, ..address(WAN, "203.0.113.9/24") },
            address(4, "192.0.2.1/24"),
        ];
        assert_eq!(
            chosen(addresses, WAN),
            ["203.0.113.1 in 203.0.113.0/255.255.255.0", "198.18.0.1 in 198.18.0.0/255.255.255.0"]
        );
    }

    /// Row M06; a scope of site is too narrow as well, seen on Linux 6.18.
    #[test]
    fn narrower_scopes_are_skipped_wherever_they_are() {
        for scope in [200, Ipv4Address::SCOPE_LINK, Ipv4Address::SCOPE_HOST] {
            let narrow = |interface, network| Ipv4Address { scope, ..address(interface, network) };
            let wan = narrow(WAN, "203.0.113.1/24");
            let wide = address(WAN, "198.18.0.1/24");
            assert_eq!(chosen(vec![wan, wide], WAN), ["198.18.0.1 in 198.18.0.0/255.255.255.0"]);
            assert_eq!(chosen(vec![narrow(2, "10.0.0.1/24"), wan], WAN), [""; 0]);
        }
    }

    #[test]
    fn the_subnet_of_a_point_to_point_address_is_its_peers() {
        let peer = Ipv4Address { peer: Ipv4Addr::new(203, 0, 113, 9), ..address(WAN, "192.0.2.7/24") };
        assert_eq!(chosen(vec![peer], WAN), ["192.0.2.7 in 203.0.113.0/255.255.255.0"]);
    }

    /// Row M06.
    #[test]
    fn an_uplink_without_address_borrows_the_first_one_of_another_interface() {
        let others = vec![loopback(), address(5, "172.16.0.1/12"), address(2, "10.0.0.1/24")];
        assert_eq!(chosen(others, WAN), ["10.0.0.1 in 10.0.0.1/255.255.255.255"]);
        let on_loopback = vec![loopback(), address(LOOPBACK, "192.0.2.1/32"), address(2, "10.0.0.1/24")];
        assert_eq!(chosen(on_loopback, WAN), ["192.0.2.1 in 192.0.2.1/255.255.255.255"]);
    }

    #[test]
    fn without_any_address_there_is_none() {
        assert_eq!(chosen(vec![loopback()], WAN), [""; 0]);
    }

    #[test]
    fn what_the_datapath_has_no_room_for_is_left_out() {
        let addresses = (1..=20).map(|i| address(WAN, &format!("198.18.{i}.1/24"))).collect();
        let chosen = chosen(addresses, WAN);
        assert_eq!(chosen.len(), MAX_ADDRESSES);
        assert!(chosen[0].starts_with("198.18.1.1 "));
    }
}
