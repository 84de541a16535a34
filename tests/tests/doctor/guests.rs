//! Machines on a bridge: whether this host is their router.

use anyhow::Result;
use lab::Lab;

use super::dhcp::dnsmasq;
use super::examination::{Examination, healthy, iptables};

const NETWORK: &str = "10.9.0.0/24";

/// A second bridge with an address of the host, where a machine is, of which no more than the TAP is seen.
fn with_machine() -> Result<Lab> {
    let lab = healthy()?;
    lab.gw.ip("link add br1 type bridge\naddr add 10.9.0.1/24 dev br1\nlink set br1 up\n\
               tuntap add dev tap1 mode tap\nlink set tap1 master br1 up")?;
    Ok(lab)
}

/// The same where a cable leads to others.
fn with_machine_and_cable() -> Result<Lab> {
    let lab = with_machine()?;
    lab.gw.ip("link add nic type ifb\nlink set nic master br1 up")?;
    Ok(lab)
}

#[test]
fn the_host_is_all_that_they_can_have() -> Result<()> {
    let lab = with_machine()?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("not-translated", NETWORK)
}

#[test]
fn a_rule_keeps_them_in() -> Result<()> {
    let lab = with_machine()?;
    iptables(&lab, "-A FORWARD -o br1 -j REJECT\n-A FORWARD -i br1 -j REJECT")?;
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()
}

#[test]
fn their_router_is_at_the_other_end_of_a_cable() -> Result<()> {
    let lab = with_machine_and_cable()?;
    let cli = lab.natbpf_cli()?;
    Examination::of(&cli)?.is_healthy()?;
    iptables(&lab, "-t nat -F\n-t nat -A POSTROUTING -o wan -j MASQUERADE")?;
    iptables(&lab, "-A FORWARD -i br1 -j DROP")?;
    Examination::of(&cli)?.is_healthy()
}

#[test]
fn the_host_tells_them_that_it_is() -> Result<()> {
    let lab = with_machine_and_cable()?;
    let range = "--interface=br1 --dhcp-range=10.9.0.10,10.9.0.20";
    let none = dnsmasq(&lab.gw, &format!("{range} --dhcp-option=3"))?;
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()?;
    drop(none);
    let _server = dnsmasq(&lab.gw, range)?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("not-translated", NETWORK)
}

#[test]
fn the_host_translates_what_they_send() -> Result<()> {
    let lab = with_machine_and_cable()?;
    let rule = "-A FORWARD -i br1 -j DROP";
    iptables(&lab, &format!("-t nat -A POSTROUTING -s {NETWORK} -o wan -j MASQUERADE\n{rule}"))?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("forward-dropped", rule)
}
