//! The gateway's own sockets beside the instances.

use crate::conformance::prelude::*;
use crate::ends::tools::{ping, together};

pub fn host_and_instances_do_not_collide(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    // `ask` also checks that each gets the answer to its own question.
    for (port, host_first) in [(40000, true), (41000, false)] {
        let open = |host_turn| if host_turn { bed.gw.udp((GW, port)) } else { bed.in1.udp((IN1, port)) };
        let first = open(host_first)?;
        let seen_first = server.ask(&first, "first")?;
        let second = open(!host_first)?;
        let seen = [seen_first, server.ask(&second, "second")?];
        let who = if host_first { "host" } else { "instance" };
        expect!(seen[0] != seen[1], "the {who} first, both are seen as {}", seen[0]);
        expect!(end(seen[0]) == (GW, port), "the {who}, which was first, is seen as {}", seen[0]);
        let again = [server.ask(&first, "first again")?, server.ask(&second, "second again")?];
        expect!(again == seen, "the {who} first, they were seen as {seen:?} and later as {again:?}");
    }
    let (instance, own) =
        together(|| ping(&bed.in1, OUT1, "-c 5 -e 4711"), || ping(&bed.gw, OUT1, "-c 5 -e 4711"));
    let received = (instance?.received, own?.received);
    expect!(received == (5, 5), "of 5 pings with one identifier, {received:?} come back");
    Ok(Meets)
}

/// natbpf owns no range of ports: it looks at the host's sockets instead.
pub fn a_listener_in_the_range_keeps_its_port(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::masquerade(|rule| rule.to_ports(25000, 25003)))?;
    let listener = Reflector::start(&bed.gw, (GW, 25001))?;
    let server = Reflector::start(&bed.out1, (OUT1, 25001))?;
    let mut given = Vec::new();
    for port in 5000..5003 {
        given.push(bed.udp_mapping(&bed.in1, port, &server)?.port());
    }
    given.push(bed.udp_mapping(&bed.in1, 25001, &server).map_or(0, |seen| seen.port()));
    expect!(!given.contains(&25001), "an instance is given the port of a listener of the gateway");
    // Also by the very end that the instances talk to.
    drop(server);
    let client = bed.out1.udp((OUT1, 25001))?;
    let seen = listener.try_ask(&client, "are you still there?")?;
    expect!(seen == Some((OUT1, 25001).into()), "the listener is not reached from outside any more");
    Ok(Meets)
}
