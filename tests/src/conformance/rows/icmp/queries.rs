//! Queries and their replies.

use crate::conformance::prelude::*;
use crate::ends::tools::ping;

pub fn echo_and_its_reply_pass(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let result = ping(&bed.in1, OUT1, "-c 10 -s 1000")?;
    expect!(result.received == result.sent, "of {} pings {} came back", result.sent, result.received);

    let requests =
        outside.drain()?.into_iter().filter(|seen| seen.icmp() == Some((8, 0))).collect::<Vec<_>>();
    let odd = requests.iter().find(|seen| seen.src() != GW || !seen.sums_are_right());
    expect!(odd.is_none(), "outside there was {odd:?}");
    let passed = inside.drain()?;
    let sent = passed.iter().filter(|seen| seen.outgoing && seen.icmp() == Some((8, 0)));
    let replies = passed.iter().filter(|seen| !seen.outgoing && seen.icmp() == Some((0, 0)));
    // Identifier, sequence number and payload come back as they were sent.
    let content = |seen: &Seen| (seen.icmp_rest(), seen.payload().to_vec());
    let same = sent.map(content).eq(replies.map(content));
    expect!(same, "the replies are not what was sent: {passed:?}");
    Ok(Meets)
}

pub fn one_identifier_for_every_destination(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let identifier =
        |name: &str, packet: Packet| -> Result<u16> { Ok(passage.leaves(&packet.payload(name))?.source().1) };
    let first = identifier("one", Packet::echo(SILENT_IN1, SILENT_OUT1, 7))?;
    let second = identifier("two", Packet::echo(SILENT_IN1, SILENT_OUT2, 7))?;
    expect!(first == second, "identifier 7 is {first} to one destination and {second} to another");

    // Once more where another host has the identifier already.
    let packet = Packet::echo(SILENT_IN1, SILENT_OUT1, 8).payload(b"three");
    let first = passage.leaves_by_another_port(&packet)?.source().1;
    let second = identifier("four", Packet::echo(SILENT_IN1, SILENT_OUT2, 8))?;
    let missed = "when another host has the identifier, there is one for each destination";
    if first == second { Ok(Meets) } else { Ok(Partly(missed.into())) }
}

pub fn a_query_lives_a_minute(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let query = Packet::echo(SILENT_IN1, SILENT_OUT1, 77);
    let left = passage.leaves(&query)?;
    let unanswered = nat.remaining("icmp", (SILENT_IN1, 77))?;
    let replies = passage.inward(&[query.answer(left.source()).ip_bytes()])?;
    expect!(replies.len() == 1, "the reply does not arrive");
    let answered = nat.remaining("icmp", (SILENT_IN1, 77))?;
    // As they were a moment ago: timeouts are multiples of ten.
    let [unanswered, answered] = [unanswered, answered].map(|left| left.next_multiple_of(10));
    expect!(unanswered >= 60 && answered >= 60, "a query lives {unanswered} seconds, answered {answered}");
    Ok(Meets)
}

pub fn the_lifetime_can_be_set(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default().timeout("icmp", 90))?;
    Passage::new(bed)?.leaves(&Packet::echo(SILENT_IN1, SILENT_OUT1, 77))?;
    let left = nat.remaining("icmp", (SILENT_IN1, 77))?;
    expect!((80..=90).contains(&left), "of 90 seconds there are {left} left at once");
    Ok(Meets)
}

pub fn queries_that_nobody_needs_any_more(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    // Timestamp, information, address mask; router solicitation, and a router advertisement.
    let kinds = [13_u8, 15, 17, 10, 9];
    let queries = kinds.map(|kind| Packet::icmp(SILENT_IN1, SILENT_OUT1, kind, 7).payload([0; 12]));
    let left = passage.outward(&queries.clone().map(|query| query.ip_bytes()))?;
    let leaks = left.iter().filter(|seen| seen.src() != GW).map(ToString::to_string).collect::<Vec<_>>();
    expect!(leaks.is_empty(), "with their inside source leave: {}", leaks.join(", "));
    for (seen, query) in left.iter().zip(&queries) {
        let replies = passage.inward(&[query.answer(seen.source()).ip_bytes()])?;
        let asked = seen.icmp().map(|(kind, _)| kind);
        expect!(replies.len() == 1, "a query of type {asked:?} leaves, and its reply does not arrive");
    }

    // A redirect is for the first hop of a packet, which is the gateway.
    let sent = passage.leaves(&Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, 9)))?;
    let redirect = Packet::icmp_error(R2, GW, 5, 1, u32::from(OUT2), sent.bytes());
    let arrived = passage.inward(&[redirect.ip_bytes()])?;
    expect!(arrived.is_empty(), "a redirect from outside arrives inside: {arrived:?}");
    Ok(Meets)
}

pub fn other_messages_do_not_pass(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    // Traceroute (RFC 1393), Photuris, and one that nobody has defined.
    let kinds = [30_u8, 40, 200];
    let messages = |from, to| kinds.map(|kind| Packet::icmp(from, to, kind, 7).ip_bytes());
    let left = passage.outward(&messages(SILENT_IN1, SILENT_OUT1))?;
    let leaks = left.iter().filter(|seen| seen.src() != GW).count();
    expect!(leaks == 0, "{leaks} of {} leave with their inside source", kinds.len());
    let arrived = passage.inward(&messages(SILENT_OUT1, GW))?;
    expect!(arrived.is_empty(), "from outside they arrive inside: {arrived:?}");
    Ok(Meets)
}
