//! Networks that instances, their routers and the outside do not agree about.

use anyhow::Result;
use lab::SERVER;

use super::examination::{is_cut_off, names, reaches};

#[test]
fn nobody_is_the_gateway() -> Result<()> {
    names("gateway-of-nobody", "10.0.0.99", |lab| {
        lab.vm1.ip("route replace default via 10.0.0.99")?;
        is_cut_off(&lab.vm1, SERVER)
    })
}

#[test]
fn an_instance_takes_a_larger_network_for_its_own() -> Result<()> {
    names("instance-mask-wider", "eth0", |lab| {
        lab.out.ip("addr add 10.0.5.5/24 dev eth0")?;
        reaches(&lab.vm1, "10.0.5.5", "-c 3")?;
        lab.vm1.ip("addr flush dev eth0\naddr add 10.0.0.11/16 dev eth0\nroute add default via 10.0.0.1")?;
        reaches(&lab.vm1, SERVER, "-c 3")?;
        is_cut_off(&lab.vm1, "10.0.5.5")
    })
}

#[test]
fn a_network_is_inside_and_outside() -> Result<()> {
    names("networks-overlap", "10.0.0.0/24", |lab| {
        lab.gw.ip("addr add 10.0.0.50/24 dev wan")?;
        lab.out.ip("addr add 10.0.0.60/24 dev eth0")?;
        is_cut_off(&lab.vm1, "10.0.0.60")
    })
}
