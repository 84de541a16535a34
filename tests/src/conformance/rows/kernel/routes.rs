//! What the kernel says about the way to a destination.

use std::net::Ipv4Addr;

use crate::conformance::prelude::*;

/// An ICMP error that the sender gets, type and code, if it gets one.
fn told(bed: &Bed, packet: &Packet) -> Result<Option<Seen>> {
    let inside = bed.in1.wire()?;
    inside.send(packet)?;
    inside.find(|seen| !seen.outgoing && seen.is_icmp_error())
}

pub fn every_answer_of_the_routing_is_handled(bed: &Bed) -> Result<Outcome> {
    bed.gw.ip(
        "route add blackhole 192.0.2.0/28\nroute add unreachable 192.0.2.16/28\nroute add prohibit 192.0.2.32/28\n\
         route add 198.51.100.0/24 via 203.0.113.254 mtu lock 1000",
    )?;
    let forward = Forward::new("wan", "8080", "10.0.0.12:8080").hairpin();
    let _nat = bed.translate(&Setup::default().forward(forward))?;
    let uplink = bed.uplink()?;
    let to = |address: Ipv4Addr| Packet::udp((SILENT_IN1, 5000), (address, 9));
    let answers = [(1, None), (17, Some((3, 1))), (33, Some((3, 13)))];
    for (number, expected) in answers {
        let error = told(bed, &to(Ipv4Addr::new(192, 0, 2, number)))?;
        let said = error.as_ref().and_then(Seen::icmp);
        expect!(
            said == expected,
            "for a route of kind {number} the sender is told {said:?}, not {expected:?}"
        );
    }
    // Too long for the way.
    let error = told(bed, &to(FAR).payload([0; 1200]).df())?;
    let told_mtu =
        error.as_ref().is_some_and(|seen| seen.icmp() == Some((3, 4)) && seen.icmp_rest().1 == 1000);
    expect!(told_mtu, "that a packet is too long for the way the sender is told by {error:?}");
    expect!(
        error.and_then(|seen| seen.quote()).is_some_and(|quote| quote.src() == SILENT_IN1),
        "what the sender is told does not quote its packet"
    );
    let left: Vec<_> = uplink.drain()?.into_iter().filter(|seen| seen.outgoing).collect();
    expect!(left.is_empty(), "leaves nevertheless: {left:?}");

    // Neighbours whose Ethernet addresses have to be asked for: outside, and inside for a hairpin.
    bed.gw.ip("neigh flush dev wan\nneigh flush dev br0")?;
    let server = Reflector::start(&bed.out2, (OUT2, 9))?;
    let seen = server.try_ask(&bed.in1.udp((IN1, 5001))?, "cold")?;
    expect!(seen.is_some(), "the first packet to a neighbour that is not known is lost");
    let server = bed.in2.udp((IN2, 8080))?;
    bed.gw.ip("neigh flush dev br0")?;
    bed.in1.udp((IN1, 5002))?.send_to(b"hairpin", (GW, 8080))?;
    let turned = server.recv(&mut [0; 100]).is_ok();
    expect!(turned, "the first packet turned round to a neighbour that is not known is lost");
    Ok(Meets)
}
