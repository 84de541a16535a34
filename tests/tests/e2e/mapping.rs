//! Which flows share an external port (RFC 4787 section 4.1). iptables is not asked: its mapping is
//! independent of the endpoint only as long as no two instances want one port.

use anyhow::{Context, Result};
use lab::ends::reflector::Reflector;
use lab::{Kind, Lab, SERVER, SERVER2, VM1, VM2};

use super::twin::{gateway, selected};

/// What two instances with the same source port get towards two servers.
fn ports_of_two(mapping: &[&str]) -> Result<(u16, u16)> {
    let lab = Lab::new()?;
    let args = ["masquerade", "-o", "wan", "-s", lab::INSIDE];
    let _natbpf = lab.natbpf_cli()?.start(args.iter().chain(mapping))?;
    let (one, two) =
        (Reflector::start(&lab.out, (SERVER, 9000))?, Reflector::start(&lab.out, (SERVER2, 9000))?);
    let sockets = (lab.vm1.udp((VM1, 5000))?, lab.vm2.udp((VM2, 5000))?);
    let first = one.ask(&sockets.0, "one")?;
    assert_eq!(first, gateway(5000));
    let second = two.ask(&sockets.1, "two").context("the second instance")?;
    // And both towards the other's server, where each of them is already known.
    one.ask(&sockets.1, "two to one")?;
    two.ask(&sockets.0, "one to two")?;
    Ok((first.port(), second.port()))
}

#[test]
fn endpoint_independent_gives_a_port_to_one_endpoint_only() -> Result<()> {
    if selected(Kind::Natbpf) {
        for mapping in [&[][..], &["--mapping", "endpoint-independent"]] {
            let (one, two) = ports_of_two(mapping)?;
            assert_ne!(one, two);
        }
    }
    Ok(())
}

#[test]
fn address_and_port_dependent_shares_a_port_between_destinations() -> Result<()> {
    if selected(Kind::Natbpf) {
        let (one, two) = ports_of_two(&["--mapping", "address-and-port-dependent"])?;
        assert_eq!(one, two);
    }
    Ok(())
}
