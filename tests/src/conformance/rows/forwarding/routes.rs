//! Routes and neighbours of the gateway.

use crate::conformance::prelude::*;
use crate::ends::tools::ping;

pub fn the_kernel_chooses_the_way(bed: &Bed) -> Result<Outcome> {
    // A second uplink, to a router that reaches `far`, too.
    bed.gw.ip(
        "link add wan2 type veth peer name eth1 netns far\naddr add 192.0.2.1/24 dev wan2\nlink set wan2 up",
    )?;
    bed.far.ip("addr add 192.0.2.2/24 dev eth1\nlink set eth1 up\naddr add 198.51.100.3/24 dev eth0")?;
    for device in ["all", "eth0", "eth1"] {
        bed.far.sysctl(&format!("net.ipv4.conf.{device}.rp_filter"), "0")?;
    }
    let rules = ["wan", "wan2"].map(|device| Rule::new(device).source(INSIDE));
    let _nat = bed.translate(&Setup::with(&rules))?;
    let (first, second) = (GW, "192.0.2.1".parse()?);
    let server = Reflector::start(&bed.far, (FAR, 9))?;
    let other = Reflector::start(&bed.far, ("198.51.100.3", 9))?;
    let from = |host, port, server: &Reflector| bed.udp_mapping(host, port, server).map(|seen| end(seen).0);

    let seen = from(&bed.in1, 5000, &server)?;
    expect!(seen == first, "by the default route it is seen as {seen}");
    // The longest prefix.
    bed.gw.ip("route add 198.51.100.3 via 192.0.2.2")?;
    let seen = [from(&bed.in1, 5001, &server)?, from(&bed.in1, 5002, &other)?];
    expect!(seen == [first, second], "with a route for one address they are seen as {seen:?}");
    // A rule for one source.
    bed.gw.ip("route add default via 192.0.2.2 table 100\nrule add from 10.0.0.12 table 100")?;
    let seen = [from(&bed.in1, 5003, &server)?, from(&bed.in2, 5003, &server)?];
    expect!(seen == [first, second], "with a rule for 10.0.0.12 the two hosts are seen as {seen:?}");
    // The lower metric.
    bed.gw.ip(&format!("route add {FAR} via {R2} metric 20\nroute add {FAR} via 192.0.2.2 metric 10"))?;
    let seen = from(&bed.in1, 5004, &server)?;
    expect!(seen == second, "with a lower metric by the second uplink it is seen as {seen}");
    Ok(Meets)
}

pub fn an_unknown_neighbour_is_asked_for(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let first = ping(&bed.in1, OUT1, "-c 2")?;
    ensure!(first.received == 2, "pings do not come back even before");
    bed.gw.ip("neigh flush dev wan\nneigh flush dev br0")?;
    let result = ping(&bed.in1, OUT1, "-c 5")?;
    expect!(result.received >= 4, "with neighbours forgotten {} of 5 pings come back", result.received);

    // One that nobody has: after three questions the gateway says so.
    bed.gw.sysctl("net.ipv4.neigh.wan.retrans_time_ms", "50")?;
    let inside = bed.in1.wire()?;
    let packet = Packet::udp((SILENT_IN1, 5000), ("203.0.113.99".parse()?, 9));
    inside.send(&packet)?;
    let is_error = |seen: &Seen| !seen.outgoing && seen.is_icmp_error();
    let Some(error) = inside.find_within(Duration::from_secs(3), is_error)? else {
        return Ok(Fails("of a neighbour that does not answer the sender hears nothing".into()));
    };
    let quote = error.quote().context("the error quotes nothing")?;
    expect!(error.icmp() == Some((3, 1)), "of a neighbour that does not answer the sender hears {error}");
    expect!(
        (quote.source(), quote.destination()) == (packet.source(), packet.destination()),
        "the error quotes another packet: {error}"
    );
    Ok(Meets)
}
