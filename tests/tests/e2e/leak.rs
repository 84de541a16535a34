//! The leak rule: nothing whose source is in a masqueraded network leaves the uplink untranslated, whatever
//! it is.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use lab::ends::raw::{RawSocket, ipv4};
use lab::{Kind, Lab, SERVER, VM1, netns::counters};

use super::twin::{selected, standard_rule, untranslated};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const MORE_FRAGMENTS: u16 = 0x2000;

/// Protocol, flags and fragment offset, payload.
type Odd = (u8, u16, Vec<u8>);

/// Packets that connection tracking has no state for, or no idea of.
fn odd_packets() -> Vec<Odd> {
    let mut odd: Vec<Odd> = Vec::new();
    // HOPOPT, IPIP, IPv6, DCCP, RSVP, GRE, ESP, AH, OSPF, PIM, VRRP, L2TP, SCTP, UDP-Lite, and nothing known.
    let protocols = [0, 4, 41, 33, 46, 47, 50, 51, 89, 103, 112, 115, 132, 136, 144, 253, 254, 255];
    odd.extend(protocols.map(|protocol| (protocol, 0, vec![0; 24])));
    odd.extend(protocols.map(|protocol| (protocol, 0, vec![])));

    let icmp_types = (0..=18).chain([30, 37, 40, 42, 43, 253, 255]);
    odd.extend(icmp_types.map(|kind| (ICMP, 0, icmp(kind))));
    odd.extend((1..8).map(|length| (ICMP, 0, icmp(8)[..length].to_vec())));

    odd.extend((0..=0x3f).map(|flags| (TCP, 0, tcp(flags, 5))));
    odd.extend([0, 4, 6, 15].map(|offset| (TCP, 0, tcp(0x10, offset))));
    odd.extend([1, 4, 13, 19].map(|length| (TCP, 0, tcp(0x02, 5)[..length].to_vec())));

    odd.extend([0, 7, 9, 200, 0xffff].map(|length| (UDP, 0, udp(5000, 9, length))));
    odd.extend([(0, 9), (9, 0), (0, 0)].map(|(from, to)| (UDP, 0, udp(from, to, 8))));
    odd.extend([1, 3, 4, 7].map(|length| (UDP, 0, udp(5000, 9, 8)[..length].to_vec())));

    for protocol in [ICMP, TCP, UDP, 47, 253] {
        let fragments = [MORE_FRAGMENTS, MORE_FRAGMENTS | 1, MORE_FRAGMENTS | 0x64, 1, 3, 185, 0x1fff];
        odd.extend(fragments.map(|field| (protocol, field, vec![0; 16])));
        odd.push((protocol, MORE_FRAGMENTS, vec![0; 8]));
    }
    odd
}

fn icmp(kind: u8) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0x12, 0x34, 0, 1];
    // An error quotes a packet: here one that was never sent.
    message.extend(ipv4(SERVER, VM1, UDP, 0, &udp(9, 5999, 8)));
    with_checksum(message)
}

fn with_checksum(mut message: Vec<u8>) -> Vec<u8> {
    let words = message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    message[2..4].copy_from_slice(&(!folded as u16).to_be_bytes());
    message
}

fn tcp(flags: u8, data_offset: u8) -> Vec<u8> {
    let mut segment = vec![0x13, 0x88, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, data_offset << 4, flags, 0xff, 0xff];
    segment.extend([0; 4 + 12]);
    segment
}

fn udp(from: u16, to: u16, length: u16) -> Vec<u8> {
    [from, to, length, 0].into_iter().flat_map(u16::to_be_bytes).chain([0; 4]).collect()
}

/// Sends each from an instance's own and from a neighbour's address; returns what came out with an inside
/// source, and how much the gateway forwarded.
fn send_all(lab: &Lab) -> Result<(Vec<String>, u64)> {
    let forwarded = |lab: &Lab| -> Result<u64> {
        counters::nstat(&lab.gw)?.get("IpForwDatagrams").copied().context("the counter IpForwDatagrams")
    };
    let before = forwarded(lab)?;
    let capture = untranslated(lab)?;
    let socket = RawSocket::whole_packets(&lab.vm1)?;
    for (protocol, fragment, payload) in odd_packets() {
        for source in [VM1, Ipv4Addr::new(10, 0, 0, 99)] {
            socket.send(&ipv4(source, SERVER, protocol, fragment, &payload), SERVER)?;
        }
    }
    Ok((capture.stop()?, forwarded(lab)? - before))
}

#[test]
fn no_odd_packet_leaves_with_an_inside_source() -> Result<()> {
    if !selected(Kind::Natbpf) {
        return Ok(());
    }
    let lab = Lab::new()?;
    let _nat = lab.translate(Kind::Natbpf, &[standard_rule()])?;
    let (leaked, forwarded) = send_all(&lab)?;
    ensure!(leaked.is_empty(), "{} packets left untranslated:\n{}", leaked.len(), leaked.join("\n"));
    ensure!(forwarded > 150, "only {forwarded} packets came as far as the uplink: this proved nothing");
    // And it is still in order.
    assert_eq!(lab::ends::tools::ping(&lab.vm1, SERVER, "-c 3")?.received, 3);
    Ok(())
}

/// What the test above guards against: iptables lets part of the same packets out, and the capture sees them.
#[test]
fn iptables_leaks_some_of_them() -> Result<()> {
    if !selected(Kind::Iptables) {
        return Ok(());
    }
    let lab = Lab::new()?;
    let _nat = lab.translate(Kind::Iptables, &[standard_rule()])?;
    let (leaked, forwarded) = send_all(&lab)?;
    println!("iptables forwarded {forwarded} odd packets and let {} out untranslated", leaked.len());
    assert!(!leaked.is_empty() && forwarded > 150);
    Ok(())
}

/// Without a translator the lab's outside sees the instances and cannot answer: nothing else would make the
/// tests pass.
#[test]
fn nothing_works_without_a_translator() -> Result<()> {
    let lab = Lab::new()?;
    let _nat = lab.translate(Kind::None, &[])?;
    let capture = untranslated(&lab)?;
    assert_eq!(lab::ends::tools::ping(&lab.vm1, SERVER, "-c 2")?.received, 0);
    assert_eq!(capture.stop()?.len(), 2);
    Ok(())
}
