//! Traffic of the gateway itself.

use crate::conformance::prelude::*;
use crate::conformance::tcp;
use crate::ends::http;
use crate::ends::tools::{fetch, ping};

pub fn the_gateways_own_traffic_works(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    // Logins and names, from both sides.
    let addresses = [(&bed.in1, GW_INSIDE), (&bed.in1, GW), (&bed.out1, GW)];
    let _ssh = [GW_INSIDE, GW].map(|address| tcp::Server::start(&bed.gw, (address, 22)));
    for (host, address) in addresses {
        let dns = Reflector::start(&bed.gw, (address, 53))?;
        let seen = dns.try_ask(&host.udp((host.address, 5000))?, "a name")?;
        let own = Some((host.address, 5000).into());
        expect!(seen == own, "port 53 of {address} sees {} as {seen:?}", host.address);
        let seen = tcp::mapping(host, 5000, (address, 22))?;
        expect!(Some(seen) == own, "port 22 of {address} sees {} as {seen}", host.address);
        let result = ping(host, address, "-c 2")?;
        expect!(result.received == 2, "pings of {} to {address} do not come back", host.address);
    }

    // What it asks for by itself.
    let server = http::Server::start(&bed.out1, (OUT1, 80))?;
    let peer = fetch(&bed.gw, &server.url("/peer")?, &["--max-time", "3"])?;
    expect!(peer.starts_with(&format!("{GW}:")), "a server sees the gateway as {peer}");
    expect!(ping(&bed.gw, FAR, "-c 2")?.received == 2, "the gateway's own pings do not come back");
    a_lease(bed)
}

/// The gateway asks for an address on the uplink.
fn a_lease(bed: &Bed) -> Result<Outcome> {
    let [client, server] = [bed.gw.udp("0.0.0.0:68")?, bed.out1.udp("0.0.0.0:67")?];
    bed.out1.ip("route add 255.255.255.255 dev eth0")?;
    bed.gw.ip("route add 255.255.255.255 dev wan")?;
    client.set_broadcast(true)?;
    server.set_broadcast(true)?;
    let mut buffer = [0; 64];
    client.send_to(b"discover", "255.255.255.255:67")?;
    let Ok((_, from)) = server.recv_from(&mut buffer) else {
        return Ok(Fails("a question for an address does not leave".into()));
    };
    expect!(end(from) == (GW, 68), "a question for an address comes from {from}");
    server.send_to(b"offer", "255.255.255.255:68")?;
    expect!(client.recv(&mut buffer).is_ok(), "an offer to all does not arrive");
    server.send_to(b"offer", (GW, 68))?;
    expect!(client.recv(&mut buffer).is_ok(), "an offer to the gateway does not arrive");
    Ok(Meets)
}
