//! Rules of the routing policy.

use anyhow::{Result, ensure};
use lab::ends::tools::ping;

use super::examination::{Examination, healthy, iptables, names, names_what_stops};

#[test]
fn a_rule_refuses_the_network() -> Result<()> {
    names_what_stops("policy-refuses", "from 10.0.0.0/24 prohibit", |lab| {
        lab.gw.ip("rule add from 10.0.0.0/24 prohibit")
    })
}

#[test]
fn the_table_of_a_rule_refuses() -> Result<()> {
    names_what_stops("policy-refuses", "from all iif br0 lookup 100", |lab| {
        lab.gw.ip("rule add iif br0 lookup 100\nroute add blackhole default table 100")
    })
}

/// A router that has all but the default route in its main table.
#[test]
fn no_rule_leads_to_the_default_route() -> Result<()> {
    let lab = healthy()?;
    lab.out.ip("address add 192.0.2.1/32 dev lo")?;
    ensure!(ping(&lab.vm1, "192.0.2.1", "-c 1")?.received == 1, "the lab is not healthy");
    lab.gw.ip("route del default\nroute add default via 203.0.113.10 table 100")?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("policy-no-route", "10.0.0.0/24")?;
    ensure!(ping(&lab.vm1, "192.0.2.1", "-c 1")?.received == 0, "a ping is answered all the same");
    lab.gw.ip("rule add from 10.0.0.0/24 lookup 100")?;
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()?;
    ensure!(ping(&lab.vm1, "192.0.2.1", "-c 1")?.received == 1, "with a rule, there is a way");
    Ok(())
}

#[test]
fn a_rule_leads_to_an_empty_table() -> Result<()> {
    names("policy-table-empty", "from 10.0.0.0/24 lookup 100", |lab| {
        lab.gw.ip("rule add from 10.0.0.0/24 lookup 100")
    })
}

/// No packet has that mark, and what else is wrong is seen nevertheless.
#[test]
fn a_rule_for_marked_packets_is_no_cause() -> Result<()> {
    let lab = healthy()?;
    let cli = lab.natbpf_cli()?;
    lab.gw.ip("rule add fwmark 1 prohibit\nrule add fwmark 0x80000/0xff0000 unreachable")?;
    iptables(
        &lab,
        "-t nat -A PREROUTING -d 10.96.0.1 -j MARK --set-xmark 0x1\n-A FORWARD -j MARK --set-mark 1",
    )?;
    Examination::of(&cli)?.is_healthy()?;
    iptables(&lab, "-P FORWARD DROP")?;
    Examination::of(&cli)?.is_alone("forward-dropped", ":FORWARD DROP")
}

/// As wg-quick does it: what has not its own mark is led elsewhere.
#[test]
fn a_rule_leads_what_has_no_mark() -> Result<()> {
    names_what_stops("policy-refuses", "not from all fwmark 0xca6c lookup 51820", |lab| {
        lab.gw.ip("rule add not fwmark 0xca6c lookup 51820\nroute add unreachable default table 51820")
    })
}

/// A rule may set the mark before the packet is routed: then it is said that its way is not known.
#[test]
fn marks_that_may_be_set_are_said() -> Result<()> {
    let lab = healthy()?;
    lab.gw.ip("rule add fwmark 1 lookup 100\nroute add default via 203.0.113.10 table 100")?;
    iptables(&lab, "-t mangle -A PREROUTING -i br0 -p tcp -m tcp --dport 443 -j MARK --set-mark 1")?;
    let found = Examination::of(&lab.natbpf_cli()?)?;
    let is_said =
        |what: &&str| what.contains("10.0.0.0/24") && what.contains("from all fwmark 0x1 lookup 100");
    ensure!(found.unseen().iter().any(is_said) && found.status == Some(3), "{:#}", found.report);
    ensure!(found.causes().is_empty(), "{:#}", found.report);
    Ok(())
}
