//! Questions for the hardware address of a neighbour, as an instance would ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use natbpf_common::wire::protocol::{ICMP6, icmp6::NEIGHBOUR_SOLICITATION};

use super::headers::{checked, ethernet, frame};

const ARP: u16 = 0x0806;
const BROADCAST: [u8; 6] = [0xff; 6];

/// Asks for the hardware address of `target`: by ARP, or by neighbour discovery.
pub fn question(mac: [u8; 6], source: IpAddr, target: IpAddr) -> Vec<u8> {
    match (source, target) {
        (IpAddr::V6(source), IpAddr::V6(target)) => solicitation(mac, source, target),
        (IpAddr::V4(source), IpAddr::V4(target)) => request(mac, source, target),
        // Nobody asks for the one from the other.
        _ => Vec::new(),
    }
}

/// RFC 826.
fn request(mac: [u8; 6], source: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, ARP);
    // Ethernet, IPv4, the lengths of their addresses, a request.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(source.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    // The shortest frame.
    frame.resize(60, 0);
    frame
}

/// RFC 4861, section 4.3: to the group that those are in whose addresses end alike, with the own hardware address.
fn solicitation(mac: [u8; 6], source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let mut message = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    message.extend([1, 1]);
    message.extend(mac);
    let ends = (source.into(), group.into());
    let message = checked(ends, ICMP6, message, 2);
    frame(([0x33, 0x33, 0xff, a, b, c], mac), ends, (ICMP6, 255), &message)
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv6Slice, NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    #[test]
    fn a_solicitation_goes_to_the_group_of_its_target() {
        let [source, target]: [Ipv6Addr; 2] = ["fd00::b", "fd00::1:2"].map(|text| text.parse().unwrap());
        let frame = question([2; 6], source.into(), target.into());
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(NetSlice::Ipv6(ip)) = packet.net else { panic!("no IPv6") };
        let group = ip.header().destination_addr();
        assert_eq!(group.to_string(), "ff02::1:ff01:2");
        assert_eq!(ip.header().hop_limit(), 255);
        let Some(TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!("no ICMPv6") };
        let is_right = |icmp: &Icmpv6Slice<'_>| icmp.is_checksum_valid(source.octets(), group.octets());
        assert!(is_right(&icmp) && icmp.type_u8() == NEIGHBOUR_SOLICITATION);
    }

    #[test]
    fn a_request_is_not_too_short() {
        let frame = question([2; 6], [10, 0, 0, 11].into(), [10, 0, 0, 1].into());
        assert_eq!((frame.len(), &frame[38..42]), (60, &[10, 0, 0, 1][..]));
    }
}
