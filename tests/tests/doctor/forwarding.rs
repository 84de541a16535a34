//! Packets that are not passed on.

use anyhow::{Result, ensure};
use lab::ends::tools::ping;
use lab::{Lab, Options, SERVER_V6};

use super::examination::{Examination, healthy, healthy_with, names, names_what_stops};

#[test]
fn forwarding_is_off() -> Result<()> {
    names("forwarding-off", "net.ipv4.ip_forward", |lab| lab.gw.sysctl("net.ipv4.ip_forward", "0"))
}

#[test]
fn forwarding_is_off_for_one_device() -> Result<()> {
    names("forwarding-off-device", "br0", |lab| lab.gw.sysctl("net.ipv4.conf.br0.forwarding", "0"))
}

/// Two ways out, and answers that come by the second one.
#[test]
fn the_reverse_path_is_strict() -> Result<()> {
    names("rp-filter-strict", "wan2", |lab| {
        lab.gw.ip("link add wan2 type veth peer name eth1 netns out\nlink set wan2 up\n\
             addr add 198.51.100.1/24 dev wan2\nroute add default via 203.0.113.10 metric 10\n\
             route add default via 198.51.100.10 metric 20")?;
        lab.out.ip("link set eth1 up\naddr add 198.51.100.10/24 dev eth1")?;
        lab.gw.wait_for_carriers()?;
        lab.gw.cmd("iptables").args("-t nat -A POSTROUTING -o wan2 -j MASQUERADE".split(' ')).run()?;
        lab.gw.sysctl("net.ipv4.conf.wan2.rp_filter", "1")
    })
}

#[test]
fn an_instance_sends_with_a_ttl_of_one() -> Result<()> {
    names_what_stops("ttl-too-small", "net.ipv4.ip_default_ttl", |lab| {
        lab.vm1.sysctl("net.ipv4.ip_default_ttl", "1")
    })
}

/// A lab with a way out for IPv6, which is not translated.
fn with_ipv6() -> Result<Lab> {
    let lab = healthy_with(Options { ipv6: true, ..Options::default() })?;
    lab.gw.ip(&format!("route add ::/0 via {SERVER_V6}"))?;
    lab.out.ip("route add fd00::/64 via 2001:db8::cb00:7101")?;
    Ok(lab)
}

#[test]
fn forwarding_is_off_for_ipv6() -> Result<()> {
    let lab = with_ipv6()?;
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()?;
    ensure!(ping(&lab.vm1, SERVER_V6, "-c 1")?.received == 1, "the lab is not healthy");
    lab.gw.sysctl("net.ipv6.conf.all.forwarding", "0")?;
    let found = Examination::of(&lab.natbpf_cli()?)?;
    found.is_alone("forwarding-off-ipv6", "net.ipv6.conf.all.forwarding")?;
    ensure!(ping(&lab.vm1, SERVER_V6, "-c 1")?.received == 0, "a ping is answered all the same");
    Ok(())
}

#[test]
fn ipv6_ends_at_the_router() -> Result<()> {
    let lab = with_ipv6()?;
    lab.gw.ip(&format!("route del ::/0 via {SERVER_V6}"))?;
    Examination::of(&lab.natbpf_cli()?)?.notes("no-default-route-ipv6", "::/0")
}

#[test]
fn the_router_answers_no_ping() -> Result<()> {
    let lab = healthy()?;
    lab.gw.sysctl("net.ipv4.icmp_echo_ignore_all", "1")?;
    Examination::of(&lab.natbpf_cli()?)?.notes("ping-ignored", "net.ipv4.icmp_echo_ignore_all")
}
