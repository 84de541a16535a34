//! What becomes of flows when links, addresses, routes and rules change.

use std::net::Ipv4Addr;

use crate::conformance::prelude::*;
use crate::gateway::flows::Flow;

use super::second_uplink::second_uplink;
use super::settle::settles_at;

/// What a change may take to come through.
const SOON: Duration = Duration::from_secs(1);

fn of_in1(flows: &[Flow]) -> impl Iterator<Item = &Flow> {
    flows.iter().filter(|flow| flow.original.src == IN1)
}

pub fn link_down_ends_the_flows(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let socket = bed.in1.udp((IN1, 5000))?;
    server.ask(&socket, "hello")?;
    ensure!(of_in1(&nat.flows()?).count() == 1, "there is no flow");
    bed.gw.ip("link set wan down")?;
    let gone = becomes_true(SOON, || Ok(of_in1(&nat.flows()?).count() == 0))?;
    expect!(gone, "the flow outlives the link by more than a second");
    bed.gw.ip("link set wan up")?;
    let seen = settles_at(&server, &socket, (GW, 5000).into())?;
    expect!(seen == Some((GW, 5000).into()), "with the link up again, the source is {seen:?}");
    Ok(Meets)
}

pub fn only_the_flows_of_a_removed_address_end(bed: &Bed) -> Result<Outcome> {
    bed.gw.ip("addr add 198.18.0.1/24 dev wan")?;
    bed.out2.ip("addr add 198.18.0.10/24 dev eth0")?;
    let nat = bed.translate(&Setup::default())?;
    let one = Reflector::start(&bed.out1, (OUT1, 9))?;
    let two = Reflector::start(&bed.out2, ("198.18.0.10", 9))?;
    let socket = bed.in1.udp((IN1, 5000))?;
    let seen = [one.ask(&socket, "one")?, two.ask(&socket, "two")?].map(end);
    let second = Ipv4Addr::new(198, 18, 0, 1);
    ensure!(seen == [(GW, 5000), (second, 5000)], "seen as {seen:?}");

    // Adding one ends nothing.
    bed.gw.ip("addr add 198.18.0.2/24 dev wan\naddr add 192.0.2.1/24 dev wan")?;
    let early = becomes_true(Duration::from_millis(300), || Ok(of_in1(&nat.flows()?).count() < 2))?;
    expect!(!early, "with a new address a flow ends");
    bed.gw.ip("addr del 198.18.0.1/24 dev wan")?;
    let gone = becomes_true(SOON, || Ok(of_in1(&nat.flows()?).count() == 1))?;
    let left = of_in1(&nat.flows()?).map(Flow::external).collect::<Vec<_>>();
    expect!(
        gone && left == [(GW, 5000)],
        "a second after 198.18.0.1 is deleted, there are flows of {left:?}"
    );
    let seen = one.ask(&socket, "still")?;
    expect!(end(seen) == (GW, 5000), "the other flow is seen as {seen}");
    Ok(Meets)
}

pub fn a_new_address_is_used_at_once(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let socket = bed.in1.udp((IN1, 5000))?;
    server.ask(&socket, "hello")?;
    // As a DHCP client does it when the lease changes.
    bed.gw.ip("addr del 203.0.113.1/24 dev wan\naddr add 203.0.113.2/24 dev wan")?;
    let new = (Ipv4Addr::new(203, 0, 113, 2), 5000);
    let seen = settles_at(&server, &socket, new.into())?;
    expect!(seen == Some(new.into()), "with the new address 203.0.113.2, the source is {seen:?}");
    let flows = of_in1(&nat.flows()?).map(Flow::external).collect::<Vec<_>>();
    expect!(flows == [new], "the table has flows of {flows:?}");
    Ok(Meets)
}

pub fn a_flow_moves_to_another_uplink(bed: &Bed) -> Result<Outcome> {
    second_uplink(bed)?;
    let rules = ["wan", "wan2"].map(|device| Rule::new(device).source(INSIDE));
    let _nat = bed.translate(&Setup::with(&rules))?;
    let server = Reflector::start(&bed.far, (FAR, 9))?;
    let socket = bed.in1.udp((IN1, 5000))?;
    let seen = server.ask(&socket, "hello")?;
    ensure!(end(seen) == (GW, 5000), "by wan the source is {seen}");
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let first = format!("via {R2} dev wan");
    for (route, address) in [("via 198.18.0.10 dev wan2", "198.18.0.1:5000"), (&first, "203.0.113.1:5000")] {
        bed.gw.ip(&format!("route replace default {route}"))?;
        let seen = settles_at(&server, &socket, address.parse()?)?;
        expect!(
            seen.is_some_and(|seen| seen.to_string() == address),
            "with the route {route} the source stays {seen:?}"
        );
    }
    Ok(Meets)
}

/// A rule that comes or goes is for what begins after it.
pub fn rules_count_for_the_first_packet(bed: &Bed) -> Result<Outcome> {
    let rule = |host: Ipv4Addr| Rule::new("wan").source(&host.to_string());
    let mut nat = bed.translate(&Setup::with(&[rule(IN1)]).in_a_file())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    bed.out1.ip(&format!("route add {INSIDE} via {GW}"))?;
    let sockets = [bed.in1.udp((IN1, 5000))?, bed.in2.udp((IN2, 6000))?];
    let seen = || -> Result<Vec<_>> {
        sockets.iter().map(|socket| Ok(end(server.ask(socket, "who am I?")?))).collect()
    };
    let before = seen()?;
    ensure!(before == [(GW, 5000), (IN2, 6000)], "with a rule for in1 they are seen as {before:?}");
    nat.change(&Setup::with(&[rule(IN2)]))?;
    let after = seen()?;
    expect!(
        after[0] == before[0],
        "when its rule goes, a flow is seen as {:?} instead of {:?}",
        after[0],
        before[0]
    );
    let new = [bed.udp_mapping(&bed.in1, 5001, &server)?, bed.udp_mapping(&bed.in2, 6001, &server)?].map(end);
    expect!(new == [(IN1, 5001), (GW, 6001)], "new flows are seen as {new:?}");
    if after[1] != before[1] {
        return Ok(Partly("a flow that ran untranslated is translated as soon as a rule takes it".into()));
    }
    Ok(Meets)
}
