//! Which packets a rule takes.

use crate::conformance::prelude::*;

pub fn only_what_leaves_by_the_device_from_the_network(bed: &Bed) -> Result<Outcome> {
    // A second way out that no rule names, and a second network that no rule names.
    bed.gw.ip("link add other type veth peer name eth1 netns far\naddr add 192.0.2.1/24 dev other\nlink set other up")?;
    bed.far.ip("addr add 192.0.2.2/24 dev eth1\nlink set eth1 up\nroute add 10.0.0.0/24 via 192.0.2.1")?;
    bed.in2.ip("addr add 10.1.0.12/24 dev eth0")?;
    bed.gw.ip("addr add 10.1.0.1/24 dev br0")?;
    bed.in2.ip("route replace default via 10.1.0.1 src 10.1.0.12")?;
    bed.out1.ip(&format!("route add 10.1.0.0/24 via {GW}"))?;
    let _nat = bed.translate(&Setup::default())?;

    let outside = Reflector::start(&bed.out1, (OUT1, 9))?;
    let other = Reflector::start(&bed.far, ("192.0.2.2", 9))?;
    let socket = bed.in1.udp((IN1, 5000))?;
    let seen = outside.ask(&socket, "by the uplink")?;
    expect!(end(seen) == (GW, 5000), "10.0.0.11 by the uplink is seen as {seen}");
    let seen = other.ask(&socket, "by another device")?;
    expect!(end(seen) == (IN1, 5000), "10.0.0.11 by another device is seen as {seen}");
    let seen = outside.ask(&bed.in2.udp("10.1.0.12:5000")?, "from another network")?;
    expect!(seen == "10.1.0.12:5000".parse()?, "10.1.0.12 by the uplink is seen as {seen}");
    Ok(Meets)
}
