//! Private addresses outside.

use anyhow::Result;

use super::examination::{iptables, names, names_what_stops};

#[test]
fn nothing_masquerades() -> Result<()> {
    names_what_stops("not-translated", "10.0.0.0/24", |lab| iptables(lab, "-t nat -F"))
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
