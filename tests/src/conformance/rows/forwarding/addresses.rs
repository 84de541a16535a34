//! Addresses that no packet is forwarded to or from.

use std::net::Ipv4Addr;

use crate::conformance::prelude::*;

const CLIENT: End = (SILENT_IN1, 5000);
const SERVER: End = (SILENT_OUT1, 9);
/// The gateway's devices: inside and uplink.
const BR0: [u8; 6] = [2, 0, 10, 0, 0, 1];
const WAN: [u8; 6] = [2, 0, 203, 0, 113, 1];

pub fn frames_for_others(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let question = Packet::udp(CLIENT, SERVER);
    let answer = question.answer(passage.leaves(&question)?.source());
    let frame = |to: [u8; 6], from: [u8; 6], packet: &Packet| {
        [&to[..], &from[..], &[8, 0], &packet.ip_bytes()].concat()
    };
    // Such a frame with the gateway's own address gets through.
    passage.inside.send_frame(&frame(BR0, bed.in1.link, &question))?;
    passage.outside.send_frame(&frame(WAN, bed.out1.link, &answer))?;
    ensure!(passage.left()?.len() == 1 && passage.arrived()?.len() == 1, "no frame gets through");

    for (what, to) in [
        ("to all", [0xff; 6]),
        ("to a group", [1, 0, 0x5e, 0, 0, 9]),
        ("to another host", [2, 0, 192, 0, 2, 9]),
    ] {
        passage.inside.send_frame(&frame(to, bed.in1.link, &question))?;
        passage.outside.send_frame(&frame(to, bed.out1.link, &answer))?;
        let (left, arrived) = (passage.left()?, passage.arrived()?);
        expect!(left.is_empty(), "from inside a frame {what} leaves as {left:?}");
        expect!(arrived.is_empty(), "from outside a frame {what} arrives as {arrived:?}");
    }
    Ok(Meets)
}

pub fn broadcasts_of_networks(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    for to in ["203.0.113.255".parse()?, Ipv4Addr::BROADCAST] {
        let left = passage.outward(&[Packet::udp(CLIENT, (to, 9)).ip_bytes()])?;
        expect!(left.is_empty(), "a packet to {to} leaves as {left:?}");
    }
    for to in ["10.0.0.255".parse()?, Ipv4Addr::BROADCAST] {
        let arrived = passage.inward(&[Packet::udp(SERVER, (to, 9)).ip_bytes()])?;
        expect!(arrived.is_empty(), "a packet from outside to {to} arrives as {arrived:?}");
    }
    Ok(Meets)
}

pub fn sources_that_no_host_has(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let from = |source: &str| -> Result<[usize; 2]> {
        let source = source.parse()?;
        let left = passage.outward(&[Packet::udp((source, 5000), SERVER).ip_bytes()])?;
        let arrived = passage.inward(&[Packet::udp((source, 5000), CLIENT).ip_bytes()])?;
        Ok([left.len(), arrived.len()])
    };
    // One that may be a host's, though none of this network.
    ensure!(from("172.16.0.5")? == [1, 1], "a packet with an ordinary source is not forwarded");
    let mut forwarded = Vec::new();
    for source in ["0.0.0.0", "127.0.0.9", "224.0.0.9", "255.255.255.255"] {
        expect!(from(source)? == [0, 0], "a packet from {source} is forwarded");
    }
    for source in ["0.0.0.9", "240.0.0.9"] {
        if from(source)? != [0, 0] {
            forwarded.push(source);
        }
    }
    if forwarded.is_empty() {
        return Ok(Meets);
    }
    Ok(Partly(format!("packets from {} are forwarded, no others of these", forwarded.join(" and "))))
}

pub fn a_source_of_another_network(bed: &Bed) -> Result<Outcome> {
    let spoofed: Ipv4Addr = "172.16.0.5".parse()?;
    bed.gw.sysctl("net.ipv4.conf.all.rp_filter", "0")?;
    bed.gw.sysctl("net.ipv4.conf.br0.rp_filter", "0")?;
    let nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let packet = Packet::udp((spoofed, 5000), SERVER).ip_bytes();
    let left = passage.outward(std::slice::from_ref(&packet))?;
    let sources = left.iter().map(Seen::source).collect::<Vec<_>>();
    expect!(sources == [(spoofed, 5000)], "a packet from {spoofed} leaves as {left:?}");
    let masqueraded = nat.flow_from("udp", (spoofed, 5000))?.is_some_and(|flow| flow.external().0 == GW);
    expect!(!masqueraded, "there is a translation for it");

    bed.gw.sysctl("net.ipv4.conf.br0.rp_filter", "1")?;
    let left = passage.outward(&[packet])?;
    expect!(left.is_empty(), "with rp_filter it leaves all the same");
    Ok(Meets)
}
