//! What belongs to flows without being masqueraded itself: flows begun from outside, errors, and what belongs to none.

use crate::conformance::prelude::*;
use crate::conformance::script::Script;

pub fn answers_to_the_outside_keep_their_source(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let [client, server] = [(SILENT_OUT1, 6000), (SILENT_IN1, 7000)];
    let exchanges = [
        ("UDP", Packet::udp(client, server), Packet::udp(server, client)),
        ("TCP", Packet::tcp(client, server, SYN), Packet::tcp(server, client, SYN | ACK)),
        ("ICMP", Packet::echo(client.0, server.0, 77), Packet::icmp(server.0, client.0, 0, 77)),
    ];
    for (name, question, answer) in exchanges {
        outside.send(&question)?;
        let arrived = inside.find_within(Duration::from_secs(2), |seen| {
            !seen.outgoing
                && seen.source() == question.source()
                && seen.destination() == question.destination()
        })?;
        expect!(arrived.is_some(), "what the outside begins by {name} does not get in");
        inside.send(&answer)?;
        let is_answer = |seen: &Seen| !seen.outgoing && seen.destination() == answer.destination();
        let Some(seen) = outside.find(is_answer)? else {
            return Ok(Fails(format!("the answer by {name} does not get out")));
        };
        expect!(seen.source() == answer.source(), "the answer by {name} leaves as {seen}");
    }
    Ok(Meets)
}

pub fn what_is_invalid_does_not_leave(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let mut script = Script::established(bed, 40000, 80)?;
    let uplink = bed.uplink()?;
    // Far outside the window of that connection.
    let beyond = script.client_next.wrapping_add(1 << 30);
    script.client_sends_at(beyond, ACK, b"out of window")?;
    let nobody = (SILENT_IN1, 41000);
    for flags in [RST, RST | ACK, SYN | ACK, FIN | ACK, ACK, TcpFlags::empty(), SYN | RST] {
        script.inside.send(&Packet::tcp(nobody, (SILENT_OUT2, 81), flags))?;
    }
    script.inside.send(&Packet::icmp(SILENT_IN1, SILENT_OUT1, 0, 99).payload(b"a reply to nothing"))?;
    script.inside.send(&Packet::udp(nobody, (SILENT_OUT1, 9)).payload(b"the last one"))?;
    let passed = uplink.drain()?;
    let last = passed.iter().any(|seen| seen.payload() == b"the last one" && seen.src() == GW);
    ensure!(last, "an ordinary packet does not get through, so nothing is proved");
    let leaks =
        passed.iter().filter(|seen| seen.outgoing && seen.src().octets()[0] == 10).collect::<Vec<_>>();
    let first = leaks.iter().take(2).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    expect!(leaks.is_empty(), "{} of 9 leave with their inside source: {first}, …", leaks.len());
    Ok(Meets)
}

pub fn errors_are_translated_with_their_flow(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let (client, server) = ((SILENT_IN1, 5000), (SILENT_OUT1, 9));
    let question = Packet::udp(client, server);
    inside.send(&question)?;
    let sent = outside.expect(|seen| seen.destination() == server)?;
    outside.send(&Packet::udp(server, sent.source()))?;
    let answered = inside.expect(|seen| seen.destination() == client)?;

    // From the server itself, and from a router on the way.
    for (from, kind, code) in [(SILENT_OUT1, 3, 3), (R2, 11, 0)] {
        outside.send(&Packet::icmp_error(from, GW, kind, code, 0, sent.bytes()))?;
        let Some(error) = inside.find(|seen| seen.icmp() == Some((kind, code)))? else {
            return Ok(Fails(format!("an error {kind}/{code} from {from} does not get in")));
        };
        let quoted = error.quote().map(|quoted| (quoted.source(), quoted.destination()));
        let right = (error.src(), error.dst()) == (from, SILENT_IN1) && quoted == Some((client, server));
        expect!(right && error.sums_are_right(), "an error from {from} gets in as {error}");
    }
    inside.send(&Packet::icmp_error(SILENT_IN1, SILENT_OUT1, 3, 3, 0, answered.bytes()))?;
    let Some(error) = outside.find(|seen| !seen.outgoing && seen.icmp() == Some((3, 3)))? else {
        return Ok(Fails("an error from inside does not get out".into()));
    };
    let quoted = error.quote().map(|quoted| (quoted.source(), quoted.destination()));
    let right = error.src() == GW && quoted == Some((server, sent.source()));
    expect!(right && error.sums_are_right(), "an error from inside gets out as {error}");
    Ok(Meets)
}
