//! ICMP that the gateway does not send.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::conformance::prelude::*;
use crate::ends::tools::ping;

const CLIENT: End = (SILENT_IN1, 5000);
const SERVER: End = (SILENT_OUT1, 9);

/// An operator's own rule, in the filter table, beside the translation.
pub fn a_rule_of_the_host_suppresses_errors(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let outside = bed.out1.wire()?;
    // Nobody reads the answers: OUT1 sends to a port that IN1 has closed again.
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let external = bed.udp_mapping(&bed.in1, 5000, &server)?;
    drop(server);
    let closed = bed.out1.udp((OUT1, 9))?;
    let is_error = |seen: &Seen| !seen.outgoing && seen.icmp() == Some((3, 3));
    closed.send_to(b"anybody there?", external)?;
    expect!(
        outside.find_within(Duration::from_secs(1), is_error)?.is_some(),
        "an error does not leave at all"
    );

    let rule = "-A FORWARD -o wan -p icmp --icmp-type destination-unreachable -j DROP";
    bed.gw.cmd("iptables").args(rule.split(' ')).run()?;
    closed.send_to(b"anybody there now?", external)?;
    let result = ping(&bed.in1, OUT1, "-c 2")?;
    expect!(result.received == 2, "with the rule pings do not come back either");
    expect!(outside.find(is_error)?.is_none(), "an error leaves past a rule of the filter table");
    Ok(Meets)
}

pub fn neither_source_quench_nor_information(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let question = |from, to| Packet::icmp(from, to, 15, 7).ip_bytes();
    passage.inside.send_ip(&question(SILENT_IN1, GW_INSIDE))?;
    passage.outside.send_ip(&question(SILENT_OUT1, GW))?;

    // An uplink of one packet a second.
    let slow = "qdisc add dev wan root tbf rate 12kbit burst 1600 limit 3000";
    bed.gw.cmd("tc").args(slow.split(' ')).run()?;
    bed.followed();
    let flood = Packet::udp(CLIENT, SERVER).payload([b'x'; 1400]);
    for _ in 0..100 {
        passage.inside.send(&flood)?;
    }
    let inside = passage.arrived()?;
    bed.gw.cmd("tc").args(["qdisc", "del", "dev", "wan", "root"]).run()?;
    let left = passage.left()?;
    let passed = left.iter().filter(|seen| seen.payload() == flood.payload).count();
    ensure!((1..50).contains(&passed), "of 100 packets {passed} pass: nothing is congested");
    let messages = inside.iter().chain(&left);
    let odd = messages.filter(|seen| matches!(seen.icmp(), Some((4 | 16, _)))).collect::<Vec<_>>();
    expect!(odd.is_empty(), "the gateway says {odd:?}");
    Ok(Meets)
}

pub fn errors_are_limited(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let packet = Packet::udp(CLIENT, SERVER).ttl(1).ip_bytes();
    let arrived = passage.inward(&[])?;
    ensure!(arrived.is_empty(), "there is {arrived:?} before anything was sent");
    for _ in 0..1000 {
        passage.inside.send_ip(&packet)?;
    }
    let errors = passage.arrived()?.iter().filter(|seen| seen.icmp() == Some((11, 0))).count();
    expect!(errors > 0, "the gateway says nothing of packets whose hops are used up");
    expect!(errors <= 100, "of 1000 packets at once {errors} are answered");
    Ok(Meets)
}

const CLASS_E: &str = "a packet from 240.0.0.9";

/// A packet that no error may answer, and why not.
struct Odd {
    why: &'static str,
    frame: Vec<u8>,
    from_outside: bool,
}

pub fn no_error_where_none_may_be(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    bed.gw.sysctl("net.ipv4.icmp_ratelimit", "0")?;
    let used_up = Packet::udp(CLIENT, SERVER).ttl(1);
    passage.inside.send(&used_up)?;
    let arrived = passage.arrived()?;
    ensure!(
        arrived.len() == 1 && arrived[0].is_icmp_error(),
        "an ordinary packet is answered by {arrived:?}"
    );

    let odd = odd_packets(bed)?;
    let mut answered = Vec::new();
    for why in odd.iter().map(|odd| odd.why).collect::<BTreeSet<_>>() {
        for Odd { frame, from_outside, .. } in odd.iter().filter(|odd| odd.why == why) {
            let wire = if *from_outside { &passage.outside } else { &passage.inside };
            wire.send_frame(frame)?;
        }
        let told = [passage.arrived()?, passage.left()?].concat();
        if told.iter().any(Seen::is_icmp_error) {
            answered.push(why);
        }
    }
    match answered[..] {
        [] => Ok(Meets),
        [CLASS_E] => Ok(Partly(format!("of all of these there is an error only about {CLASS_E}"))),
        _ => Ok(Fails(format!("there is an error about {}", answered.join(", ")))),
    }
}

fn odd_packets(bed: &Bed) -> Result<Vec<Odd>> {
    let mut all = Vec::new();
    // To a closed port, or without a hop left: reasons for an error, were it not for another.
    let inside = (SILENT_IN1, GW_INSIDE, Ipv4Addr::new(10, 0, 0, 255), SILENT_OUT1);
    let outside = (SILENT_OUT1, GW, Ipv4Addr::new(203, 0, 113, 255), FAR);
    let host = bed.in1.link;
    for (from_outside, (host_address, gateway, broadcast, beyond)) in [(false, inside), (true, outside)] {
        let link = if from_outside { bed.out1.link } else { host };
        let mut add = |why, packet: Packet, broadcast: bool| {
            let to = match (broadcast, from_outside) {
                (true, _) => [0xff; 6],
                (false, true) => [2, 0, 203, 0, 113, 1],
                (false, false) => [2, 0, 10, 0, 0, 1],
            };
            let frame = [&to[..], &link[..], &[8, 0], &packet.ip_bytes()].concat();
            all.push(Odd { why, frame, from_outside });
        };
        let udp = |from, to| Packet::udp((from, 5000), (to, 4242));
        let quoted = udp(beyond, host_address).ip_bytes();
        add("an error", Packet::icmp_error(host_address, beyond, 3, 1, 0, &quoted).ttl(1), false);
        add("a packet to a broadcast address", udp(host_address, broadcast), true);
        add("a packet to 255.255.255.255", udp(host_address, Ipv4Addr::BROADCAST), true);
        add("a packet to a group", udp(host_address, "224.0.0.1".parse()?), true);
        add("a frame to all that has a packet for one", udp(host_address, gateway), true);
        add("a fragment that is not the first", udp(host_address, beyond).fragment(100, false).ttl(1), false);
        for (why, source) in [
            ("a packet from 0.0.0.0", "0.0.0.0"),
            ("a packet from 127.0.0.1", "127.0.0.1"),
            ("a packet from 255.255.255.255", "255.255.255.255"),
            ("a packet from 224.0.0.9", "224.0.0.9"),
            (CLASS_E, "240.0.0.9"),
        ] {
            add(why, udp(source.parse()?, gateway), false);
            add(why, udp(source.parse()?, beyond).ttl(1), false);
        }
    }
    Ok(all)
}
