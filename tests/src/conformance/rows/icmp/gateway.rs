//! What the gateway itself says, as any router does (RFC 1812, section 4.3).

use super::traceroute::hops;
use crate::conformance::prelude::*;
use crate::ends::tools::{iperf3, ping, together};

const CLIENT: End = (SILENT_IN1, 5000);
const SERVER: End = (SILENT_OUT1, 9);

/// Sends a packet from inside and returns the error about it.
fn told(passage: &Passage, packet: &Packet) -> Result<Option<Seen>> {
    passage.inside.send(packet)?;
    Ok(passage.arrived()?.into_iter().find(Seen::is_icmp_error))
}

/// As [`told`], to either inside host, and by a router beyond the gateway, too.
fn told_by_any(passage: &Passage, packet: &Packet) -> Result<Option<Seen>> {
    let wire = if packet.source().0 == SILENT_IN1 { &passage.inside } else { &passage.neighbour };
    wire.send(packet)?;
    wire.find_within(Duration::from_secs(1), |seen| !seen.outgoing && seen.is_icmp_error())
}

/// Sends the answer to a packet from inside and returns the error about it. `change` is what is wrong with the answer.
fn told_outside(passage: &Passage, change: impl FnOnce(Packet) -> Packet) -> Result<(Seen, Option<Seen>)> {
    let question = Packet::udp(CLIENT, SERVER);
    let left = passage.leaves_by_another_port(&question)?;
    let answer = change(question.answer(left.source()));
    passage.outside.send(&answer)?;
    passage.arrived()?;
    let error = passage.left()?.into_iter().find(Seen::is_icmp_error);
    Ok((Seen::of_packet(&answer.ip_bytes(), true).context("no packet")?, error))
}

/// What is wrong with an error about `sent`, which its sender should recognise.
fn complaint(sent: &Seen, error: &Seen) -> Option<&'static str> {
    let Some(quote) = error.quote() else { return Some("quotes nothing") };
    if (quote.source(), quote.destination()) != (sent.source(), sent.destination()) {
        Some("quotes a packet with other ends")
    } else if !error.sums_are_right() || !quote.header_sum_is_right() {
        Some("has a wrong checksum")
    } else {
        None
    }
}

pub fn it_says_what_is_unreachable(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let routes = "route add unreachable 192.0.2.0/24\nroute add prohibit 198.18.0.0/24";
    bed.gw.ip(&format!("{routes}\nlink set wan mtu 1300"))?;
    bed.r2.ip("route del blackhole default\nroute add unreachable default")?;
    // Two senders: no more than a few errors a second go to one.
    let packet = |source, to: &str| -> Result<Packet> { Ok(Packet::udp((source, 5000), (to.parse()?, 9))) };
    let long = Packet::udp((SILENT_IN2, 5000), SERVER).payload([b'x'; 1400]).df();
    let closed = Packet::udp((SILENT_IN2, 5000), (GW_INSIDE, 4242));
    let cases = [
        ("an unreachable destination", packet(SILENT_IN1, "192.0.2.9")?, (3, 1), GW_INSIDE),
        ("a prohibited destination", packet(SILENT_IN1, "198.18.0.9")?, (3, 13), GW_INSIDE),
        ("a packet that is too long", long, (3, 4), GW_INSIDE),
        ("a closed port of the gateway", closed, (3, 3), GW_INSIDE),
        // This error is the next router's, and translated.
        ("a destination without a route at the next router", packet(SILENT_IN1, "192.88.99.9")?, (3, 1), R2),
    ];
    for (what, packet, kind, from) in &cases {
        let Some(error) = told_by_any(&passage, packet)? else {
            return Ok(Fails(format!("of {what} the sender hears nothing")));
        };
        let sent = Seen::of_packet(&packet.ip_bytes(), true).context("no packet")?;
        let complaint = complaint(&sent, &error);
        expect!(complaint.is_none(), "the error of {what} {}: {error}", complaint.unwrap_or_default());
        expect!(error.icmp() == Some(*kind) && error.src() == *from, "of {what} the sender hears {error}");
        expect!(*kind != (3, 4) || error.icmp_rest().1 == 1300, "the MTU is {}", error.icmp_rest().1);
    }
    bed.gw.ip("route del default")?;
    let error = told_by_any(&passage, &packet(SILENT_IN2, "192.88.99.9")?)?;
    let kind = error.as_ref().and_then(Seen::icmp);
    expect!(matches!(kind, Some((3, 0 | 1))), "without a route the sender hears {error:?}");
    Ok(Meets)
}

pub fn it_says_where_the_hops_ended(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let (sent, error) = told_outside(&passage, |answer| answer.ttl(1))?;
    let Some(error) = error else {
        return Ok(Fails("of an answer whose hops are used up its sender hears nothing".into()));
    };
    let complaint = complaint(&sent, &error);
    expect!(complaint.is_none(), "the error to the outside {}: {error}", complaint.unwrap_or_default());
    expect!(error.icmp() == Some((11, 0)) && error.src() == GW, "the outside hears {error}");

    let hops = hops(bed, "-U")?;
    expect!(hops.first() == Some(&GW_INSIDE.to_string()), "the hops of traceroute are {}", hops.join(", "));
    Ok(Meets)
}

pub fn it_answers_pings_under_load(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let cases = [(&bed.in1, GW_INSIDE), (&bed.in1, GW), (&bed.in2, GW), (&bed.out1, GW), (&bed.far, GW)];
    let pings =
        || cases.iter().map(|(host, address)| ping(host, address, "-c 5")).collect::<Result<Vec<_>>>();
    let (load, pings) = together(|| iperf3(&bed.in1, (&bed.out1, OUT1), "-t 1"), pings);
    load?;
    for ((host, address), result) in cases.iter().zip(pings?) {
        let lost = result.sent - result.received;
        expect!(lost == 0, "of {} pings of {} to {address} {lost} are lost", result.sent, host.address);
    }
    Ok(Meets)
}

pub fn errors_have_the_class_of_the_packet(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let mut packet = Packet::udp(CLIENT, SERVER).ttl(1);
    packet.ip.dscp = 46.try_into()?;
    let Some(error) = told(&passage, &packet)? else { bail!("no error about a packet without a hop left") };
    let class = error.tos() >> 2;
    expect!(class != 0, "the error about a packet of class 46 has class 0");
    let precedence =
        "its three lower bits are those of the packet, the upper three are 6 (internetwork control)";
    match class {
        46 => Ok(Meets),
        class => Ok(Partly(format!("the error about a packet of class 46 has class {class}: {precedence}"))),
    }
}

pub fn errors_quote_what_fits_into_576_bytes(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let long = Packet::udp(CLIENT, SERVER).payload([b'x'; 1372]).ttl(1);
    let inside = told(&passage, &long)?;
    let (_, outside) = told_outside(&passage, |answer| answer.payload([b'x'; 1372]).ttl(1))?;
    for (side, error) in [("inside", inside), ("outside", outside)] {
        let length = error.as_ref().map(|error| error.bytes().len());
        expect!(length == Some(576), "the error to the {side} is {error:?} with {length:?} bytes");
        expect!(error.is_some_and(|error| error.sums_are_right()), "the checksum to the {side} is wrong");
    }
    Ok(Meets)
}

pub fn errors_come_from_where_they_leave(bed: &Bed) -> Result<Outcome> {
    bed.gw.ip("addr add 203.0.113.2/24 dev wan\naddr add 10.0.0.2/24 dev br0")?;
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let inside = told(&passage, &Packet::udp(CLIENT, SERVER).ttl(1))?.map(|error| error.src());
    expect!(inside == Some(GW_INSIDE), "the error to the inside comes from {inside:?}");
    let (_, outside) = told_outside(&passage, |answer| answer.ttl(1))?;
    let outside = outside.map(|error| error.src());
    expect!(outside == Some(GW), "the error to the outside comes from {outside:?}");
    Ok(Meets)
}
