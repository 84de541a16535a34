//! Private addresses outside.

use anyhow::{Result, ensure};
use lab::{GATEWAY, Lab, Namespace, SERVER, VM1};

use super::examination::{Examination, healthy, iptables, is_cut_off, names, names_what_stops, reaches};

#[test]
fn nothing_masquerades() -> Result<()> {
    names_what_stops("not-translated", "10.0.0.0/24", |lab| iptables(lab, "-t nat -F"))
}

/// A router in a corporate network, as many are: the next one knows the way back, or may know it.
#[test]
fn a_private_network_is_routed_in_a_larger_one() -> Result<()> {
    let lab = healthy()?;
    let cli = lab.natbpf_cli()?;
    lab.gw.ip("addr flush dev wan\naddr add 10.1.0.1/24 dev wan\nroute add default via 10.1.0.10")?;
    lab.out.ip("addr add 10.1.0.10/24 dev eth0\nroute add 10.0.0.0/24 via 10.1.0.1")?;
    iptables(&lab, "-t nat -F")?;
    reaches(&lab.vm1, SERVER, "-c 1")?;
    let found = Examination::of(&cli)?;
    found.is_healthy()?;
    ensure!(found.notes("untranslated-behind-private", "10.0.0.0/24").is_err(), "{:#}", found.report);
    // That it does not is seen, too.
    lab.out.ip("route del 10.0.0.0/24")?;
    is_cut_off(&lab.vm1, SERVER)?;
    Examination::of(&cli)?.is_alone("not-translated", "10.0.0.0/24")?;
    // The next router is somebody who is not seen.
    lab.gw.ip("route replace default via 10.1.0.99")?;
    Examination::of(&cli)?.notes("untranslated-behind-private", "10.0.0.0/24")
}

/// The rule of the healthy lab gives way to this one.
fn masquerades_wrongly(cause: &str, rule: &str) -> Result<()> {
    names_what_stops(cause, rule, |lab| iptables(lab, &format!("-t nat -F\n-t nat {rule}")))
}

#[test]
fn the_rule_is_for_another_device() -> Result<()> {
    masquerades_wrongly("masquerade-wrong-device", "-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE")
}

#[test]
fn the_rule_is_for_another_network() -> Result<()> {
    masquerades_wrongly("masquerade-wrong-source", "-A POSTROUTING -s 10.0.1.0/24 -o wan -j MASQUERADE")
}

#[test]
fn the_rule_is_for_some_destinations() -> Result<()> {
    let rule = "-A POSTROUTING -s 10.0.0.0/24 -d 172.16.0.0/12 -o wan -j MASQUERADE";
    masquerades_wrongly("masquerade-wrong-destination", rule)
}

#[test]
fn a_rule_before_it_exempts() -> Result<()> {
    let rule = "-A POSTROUTING -s 10.0.0.0/8 -j RETURN";
    names_what_stops("masquerade-exempt", rule, |lab| iptables(lab, &rule.replacen("-A", "-t nat -I", 1)))
}

/// What a policy leads to another uplink is to be translated there.
#[test]
fn a_policy_leads_to_another_uplink() -> Result<()> {
    names("not-translated", "10.0.0.0/24", |lab| {
        lab.gw.ip("link add wan2 type veth peer name eth1 netns out\nlink set wan2 up\n\
                   address add 198.51.100.1/24 dev wan2\nrule add iif br0 lookup 100\n\
                   route add default via 198.51.100.10 table 100")?;
        lab.out.ip("link set eth1 up\naddress add 198.51.100.10/24 dev eth1")?;
        lab.gw.wait_for_carriers()?;
        iptables(lab, "-t nat -F\n-t nat -A POSTROUTING -s 10.0.0.0/24 -d 192.0.2.0/24 -o wan2 -j ACCEPT")
    })
}

#[test]
fn a_forward_leads_to_the_loopback() -> Result<()> {
    let rule = "-A PREROUTING -i wan -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.1:53";
    names("dnat-to-loopback", rule, |lab| iptables(lab, &format!("-t nat {rule}")))
}

/// The outside becomes a router on the same host, with another network behind it.
fn farther(lab: &Lab) -> Result<Namespace> {
    let world = Namespace::new("world")?;
    lab.out.ip("link add eth1 type veth peer name eth0 netns world\nlink set eth1 up\n\
                address add 198.51.100.1/24 dev eth1\nroute add default via 198.51.100.10")?;
    world.ip("link set eth0 up\naddress add 198.51.100.10/24 dev eth0")?;
    lab.out.sysctl("net.ipv4.ip_forward", "1")?;
    world.wait_for_carriers()?;
    Ok(world)
}

#[test]
fn two_routers_translate_one_after_the_other() -> Result<()> {
    let lab = healthy()?;
    let world = farther(&lab)?;
    world.ip(&format!("route add {GATEWAY}/32 via 198.51.100.1"))?;
    let noted = |found: &Examination| found.notes("translated-twice", "10.0.0.0/24").is_ok();
    reaches(&lab.vm1, "198.51.100.10", "-c 1")?;
    let found = Examination::of(&lab.natbpf_cli()?)?;
    ensure!(!noted(&found), "it is translated once: {:#}", found.report);

    let rule = "-t nat -A POSTROUTING -s 203.0.113.0/24 -o eth1 -j MASQUERADE";
    lab.out.cmd("iptables").args(rule.split(' ')).run()?;
    world.ip("route flush root 203.0.113.1/32")?;
    reaches(&lab.vm1, "198.51.100.10", "-c 1")?;
    Examination::of(&lab.natbpf_cli()?)?.notes("translated-twice", "10.0.0.0/24")?;

    // What mends it.
    lab.out.ip(&format!("route add 10.0.0.0/24 via {GATEWAY}"))?;
    let rule = "-t nat -I POSTROUTING -s 10.0.0.0/24 -o eth1 -j MASQUERADE";
    lab.out.cmd("iptables").args(rule.split(' ')).run()?;
    iptables(&lab, "-t nat -F")?;
    reaches(&lab.vm1, "198.51.100.10", "-c 1")
}

/// Of a rule with two ports, the third flow to a server gets none.
#[test]
fn all_ports_of_the_rule_are_taken() -> Result<()> {
    let lab = healthy()?;
    let rule = "-A POSTROUTING -s 10.0.0.0/24 -o wan -p udp -j MASQUERADE --to-ports 50000-50001";
    iptables(&lab, &format!("-t nat {}", rule.replacen("-A", "-I", 1)))?;
    let server = lab.out.udp((SERVER, 53))?;
    server.set_nonblocking(true)?;
    let arrives = |port: u16| {
        lab.vm1.udp((VM1, port))?.send_to(b"a flow", (SERVER, 53))?;
        anyhow::Ok(server.recv(&mut [0; 16]).is_ok())
    };
    ensure!(arrives(20_000)? && arrives(20_001)?, "there are two ports");
    // Nobody has missed one yet.
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()?;
    ensure!(!arrives(20_002)?, "there is a third port");
    Examination::of(&lab.natbpf_cli()?)?.is_alone("masquerade-ports-used-up", rule)
}
