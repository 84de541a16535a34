//! Rules of the routing policy.

use anyhow::{Result, ensure};
use lab::ends::tools::ping;

use super::examination::{Examination, healthy, names, names_what_stops};

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

/// Whom a mark leads where is not known, so nothing is said of the way.
#[test]
fn a_rule_for_marked_packets_is_no_cause() -> Result<()> {
    let lab = healthy()?;
    lab.gw.ip("rule add fwmark 1 prohibit")?;
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()
}
