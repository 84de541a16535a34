//! Which external endpoint an inside endpoint gets.

use std::collections::BTreeSet;

use crate::conformance::prelude::*;
use crate::conformance::stun::Stun;

pub fn one_port_for_every_destination(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let servers = [(&bed.out1, (OUT1, 9)), (&bed.out1, (OUT1, 10)), (&bed.out2, (OUT2, 9))];
    let servers = servers.map(|(host, address)| Reflector::start(host, address));
    let servers = servers.into_iter().collect::<Result<Vec<_>>>()?;
    let endpoints = |host, port| -> Result<Vec<_>> {
        servers.iter().map(|server| bed.udp_mapping(host, port, server)).collect()
    };
    let free = endpoints(&bed.in1, 5000)?;
    expect!(
        free.iter().all(|seen| *seen == free[0]),
        "with no other host there an endpoint is seen as {free:?}"
    );

    // Another host has the port already, towards the server that is asked last.
    bed.udp_mapping(&bed.in2, 6000, &servers[2])?;
    let clash = endpoints(&bed.in1, 6000)?;
    let different = clash.iter().collect::<BTreeSet<_>>().len();
    expect!(
        different == 1,
        "where another host has the port towards one server, an endpoint is seen as {different}"
    );
    // A second opinion.
    let agreed = Stun::start(bed)?.finds("-m", "NAT with Endpoint Independent Mapping!")?;
    expect!(agreed, "coturn's discovery tool says otherwise");
    Ok(Meets)
}

pub fn two_endpoints_share_no_port(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let sockets = [bed.in1.udp((IN1, 5000))?, bed.in2.udp((IN2, 5000))?];
    // `ask` also checks that each gets the answer to its own question.
    let [one, two] = [server.ask(&sockets[0], "in1")?, server.ask(&sockets[1], "in2")?];
    expect!(one != two, "both are seen as {one}");
    let again = [server.ask(&sockets[0], "in1 again")?, server.ask(&sockets[1], "in2 again")?];
    expect!(again == [one, two], "they were seen as {one} and {two}, and later as {again:?}");
    Ok(Meets)
}

pub fn a_free_port_is_kept(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let server = Reflector::start(&bed.out1, (OUT1, 9))?;
    let seen = bed.udp_mapping(&bed.in1, 40001, &server)?;
    expect!(end(seen) == (GW, 40001), "10.0.0.11:40001 is seen as {seen}");
    Ok(Meets)
}
