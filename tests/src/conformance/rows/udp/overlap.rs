//! An uplink whose network is the inside one.

use std::net::Ipv4Addr;

use crate::conformance::prelude::*;

/// What the uplink gets.
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);
/// A host out there.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 60);

pub fn an_uplink_may_be_in_the_inside_network(bed: &Bed) -> Result<Outcome> {
    let mut nat = bed.translate(&Setup::default())?;
    let first = Reflector::start(&bed.out1, (OUT1, 9))?;
    ensure!(end(bed.udp_mapping(&bed.in1, 5000, &first)?) == (GW, 5000), "nothing is translated");

    bed.out1.ip(&format!("addr add {OUTSIDE}/24 dev eth0"))?;
    // Which of the two networks a host is in only routes can tell.
    bed.gw.sysctl("net.ipv4.conf.br0.proxy_arp", "1")?;
    // Up to 0.8 seconds otherwise.
    bed.gw.sysctl("net.ipv4.neigh.br0.proxy_delay", "0")?;
    bed.gw.ip(&format!(
        "addr del {GW}/24 dev wan\naddr add {EXTERNAL}/24 brd + dev wan\nroute add {OUTSIDE}/32 dev wan"
    ))?;
    let server = Reflector::start(&bed.out1, (OUTSIDE, 9))?;
    let socket = bed.in1.udp((IN1, 5001))?;
    let seen = server.ask_until(&socket, Duration::from_secs(3), (EXTERNAL, 5001).into());
    expect!(seen.is_ok(), "a host outside with an address of the inside network is not reached");
    if let Translation::Natbpf(natbpf) = &mut nat {
        expect!(natbpf.process().is_running(), "natbpf has ended: {}", natbpf.log());
    }
    Ok(Meets)
}
