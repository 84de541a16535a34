//! Packets that are not passed on.

use anyhow::{Context as _, Result, ensure};
use lab::ends::tools::ping;
use lab::{Lab, Options, SERVER_V6};

use super::examination::{
    Examination, healthy, healthy_with, iptables, names, names_what_stops, reaches_outside,
};

#[test]
fn forwarding_is_off() -> Result<()> {
    names("forwarding-off", "net.ipv4.ip_forward", |lab| lab.gw.sysctl("net.ipv4.ip_forward", "0"))
}

#[test]
fn forwarding_is_off_for_one_device() -> Result<()> {
    names("forwarding-off-device", "br0", |lab| lab.gw.sysctl("net.ipv4.conf.br0.forwarding", "0"))
}

/// A second way out, strict, with a default route like this.
fn with_second_way(lab: &Lab, route: &str) -> Result<()> {
    lab.gw.ip(&format!(
        "link add wan2 type veth peer name eth1 netns out\nlink set wan2 up\naddr add 198.51.100.1/24 dev wan2\n\
         {route}"
    ))?;
    lab.out.ip("link set eth1 up\naddr add 198.51.100.10/24 dev eth1")?;
    lab.gw.wait_for_carriers()?;
    iptables(lab, "-t nat -A POSTROUTING -o wan2 -j MASQUERADE")?;
    lab.gw.sysctl("net.ipv4.conf.wan2.rp_filter", "1")
}

const RESERVE: &str = "route add default via 198.51.100.10 metric 20";

/// What is sent with the address of the second way out is answered there.
#[test]
fn answers_come_by_another_device() -> Result<()> {
    names_what_stops("rp-filter-strict", "wan2", |lab| {
        with_second_way(lab, RESERVE)?;
        iptables(lab, "-t nat -I POSTROUTING -s 10.0.0.0/24 -o wan -j SNAT --to-source 198.51.100.1")?;
        lab.gw.sysctl("net.ipv4.conf.wan2.rp_filter", "2")?;
        ensure!(reaches_outside(lab)?, "a loose filter stops it, too");
        lab.gw.sysctl("net.ipv4.conf.wan2.rp_filter", "1")
    })
}

#[test]
fn a_forward_is_for_the_device_that_nothing_goes_back_by() -> Result<()> {
    let lab = healthy()?;
    with_second_way(&lab, RESERVE)?;
    iptables(&lab, "-t nat -A PREROUTING -i wan2 -p tcp --dport 8080 -j DNAT --to-destination 10.0.0.11:80")?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("rp-filter-strict", "wan2")?;
    // By a rule for what it sends, the way back leads there.
    lab.gw.ip("rule add from 10.0.0.0/24 lookup 100\nroute add default via 198.51.100.10 table 100")?;
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()
}

/// By a way out in reserve, and by one for another source, no answer comes; of two hops either is right.
#[test]
fn a_strict_second_way_out_is_no_cause() -> Result<()> {
    let policy = "rule add from 10.0.0.0/24 lookup 100\nroute add default via 198.51.100.10 table 100";
    let hops = "route replace default nexthop via 203.0.113.10 nexthop via 198.51.100.10";
    for route in [RESERVE, policy, hops] {
        let lab = healthy()?;
        with_second_way(&lab, route)?;
        lab.gw.sysctl("net.ipv4.conf.wan.rp_filter", "1")?;
        ensure!(reaches_outside(&lab)?, "{route}");
        Examination::of(&lab.natbpf_cli()?)?.is_healthy().with_context(|| route.to_owned())?;
    }
    Ok(())
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
