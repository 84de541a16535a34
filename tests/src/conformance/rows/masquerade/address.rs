//! Which address a flow gets.

use std::net::Ipv4Addr;

use crate::conformance::prelude::*;

use super::settle::settles_at;
use crate::conformance::bed::WAN_LINK;
use crate::netns::link::colons;

pub fn the_subnet_of_the_next_hop_is_preferred(bed: &Bed) -> Result<Outcome> {
    bed.gw.ip("addr add 198.18.0.1/24 dev wan")?;
    bed.r2.ip("addr add 198.18.0.254/24 dev eth0")?;
    bed.far.ip("route add 198.18.0.0/24 via 198.51.100.1")?;
    let _nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.far, (FAR, 9))?;
    let seen = bed.udp_mapping(&bed.in1, 5000, &server)?;
    expect!(seen.ip() == GW, "by way of 203.0.113.254 the source is {seen}");
    bed.gw.ip("route add 198.51.100.0/24 via 198.18.0.254")?;
    let seen = bed.udp_mapping(&bed.in1, 5001, &server)?;
    expect!(seen.to_string() == "198.18.0.1:5001", "by way of 198.18.0.254 the source is {seen}");
    Ok(Meets)
}

pub fn the_preferred_source_of_a_route_is_not_used(bed: &Bed) -> Result<Outcome> {
    bed.gw.ip(&format!("addr add 203.0.113.9/24 dev wan\nroute replace default via {R2} src 203.0.113.9"))?;
    let _nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.far, (FAR, 9))?;
    let own = server.ask(&bed.gw.udp("0.0.0.0:0")?, "whom does the route make of me?")?;
    ensure!(own.ip().to_string() == "203.0.113.9", "the gateway's own source is {own}");
    let seen = bed.udp_mapping(&bed.in1, 5000, &server)?;
    expect!(seen.ip() == GW, "the source is {seen}");
    Ok(Meets)
}

pub fn scopes_other_devices_and_no_address_at_all(bed: &Bed) -> Result<Outcome> {
    // In this order: of a narrower scope, primary, secondary.
    bed.gw.ip(&format!(
        "addr flush dev wan\naddr add 203.0.113.7/24 dev wan scope link\naddr add {GW}/25 dev wan\n\
         addr add 203.0.113.9/25 dev wan\nroute add 198.51.100.0/24 via {R2} dev wan onlink"
    ))?;
    let _nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.far, (FAR, 9))?;
    let seen = bed.udp_mapping(&bed.in1, 5000, &server)?;
    expect!(seen.ip() == GW, "of addresses of scope link, primary and secondary, {} is used", seen.ip());

    // On lo, since the kernel asks the devices in their order.
    bed.gw.ip(&format!(
        "addr add 192.0.2.1/32 dev lo\naddr flush dev wan\nroute add {R2} dev wan\n\
         route add 198.51.100.0/24 via {R2} dev wan\nroute add {SILENT_OUT1} dev wan\n\
         neigh add {SILENT_OUT1} lladdr {} dev wan",
        colons(bed.out1.link)
    ))?;
    bed.r2.ip(&format!(
        "route add 192.0.2.1/32 dev eth0\nneigh add 192.0.2.1 lladdr {} dev eth0",
        colons(WAN_LINK)
    ))?;
    bed.far.ip("route add 192.0.2.1/32 via 198.51.100.1")?;
    let seen = settles_at(&server, &bed.in1.udp((IN1, 5001))?, "192.0.2.1:5001".parse()?)?;
    expect!(
        seen.is_some_and(|seen| seen.to_string() == "192.0.2.1:5001"),
        "where another device has an address, the source is {seen:?}"
    );

    let (inside, uplink) = (bed.in1.wire()?, bed.uplink()?);
    bed.gw.ip("addr del 192.0.2.1/32 dev lo\naddr flush dev br0\nroute add 10.0.0.0/24 dev br0")?;
    let packet = || Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, 9));
    let quiet = becomes_true(Duration::from_secs(2), || {
        inside.send(&packet())?;
        Ok(uplink.find(|seen| seen.outgoing)?.is_none())
    })?;
    expect!(quiet, "without any address packets go on leaving");
    for _ in 0..5 {
        inside.send(&packet())?;
    }
    let leaks = uplink.drain()?;
    expect!(leaks.is_empty(), "without any address there leave {leaks:?}");
    // It was for the want of an address.
    bed.gw.ip(&format!("addr add {GW}/24 dev wan"))?;
    let again = becomes_true(Duration::from_secs(2), || {
        inside.send(&packet())?;
        Ok(uplink.find(|seen| seen.src() == GW)?.is_some())
    })?;
    expect!(again, "with its address again, nothing leaves");
    Ok(Meets)
}

pub fn the_hosts_other_addresses_are_masqueraded(bed: &Bed) -> Result<Outcome> {
    bed.gw.ip("addr add 203.0.113.9/24 dev wan")?;
    let _nat = bed.translate(&Setup::with(&[Rule::new("wan")]))?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let seen = server.ask(&bed.gw.udp("203.0.113.9:5000")?, "from a secondary address")?;
    expect!(end(seen) == (GW, 5000), "a socket bound to 203.0.113.9 is seen as {seen}");
    let seen = server.ask(&bed.gw.udp((GW, 5001))?, "from the primary address")?;
    expect!(end(seen) == (GW, 5001), "a socket bound to {GW} is seen as {seen}");
    Ok(Meets)
}

pub fn the_unspecified_source_is_left_alone(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::with(&[Rule::new("wan")]))?;
    let outside = bed.out1.wire()?;
    let discover = |seen: &Seen| seen.destination() == (Ipv4Addr::BROADCAST, 67);
    // As a DHCP client does it, below the stack.
    let packet = Packet::udp((Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67));
    let mut frame = packet.bytes();
    frame[..6].fill(0xff);
    bed.uplink()?.send_frame(&frame)?;
    let seen = outside.find_within(Duration::from_secs(2), discover)?;
    let Some(seen) = seen else {
        return Ok(Fails("a DHCPDISCOVER from a packet socket does not leave".into()));
    };
    expect!(
        seen.source() == (Ipv4Addr::UNSPECIFIED, 68),
        "a DHCPDISCOVER from a packet socket leaves as {seen}"
    );

    // Through the stack, which has the source 0.0.0.0 as long as no device has an address.
    bed.gw.ip("addr flush dev br0\naddr flush dev wan\nroute add default dev wan")?;
    let socket = bed.gw.udp("0.0.0.0:68")?;
    socket.set_broadcast(true)?;
    socket.send_to(b"who gives me an address?", (Ipv4Addr::BROADCAST, 67))?;
    let seen = outside.find_within(Duration::from_secs(2), discover)?;
    let Some(seen) = seen else { return Ok(Fails("a DHCPDISCOVER from a socket does not leave".into())) };
    expect!(seen.source() == (Ipv4Addr::UNSPECIFIED, 68), "a DHCPDISCOVER from a socket leaves as {seen}");
    Ok(Meets)
}
