//! Neighbours that are not found, or in the wrong place.

use anyhow::Result;
use lab::{GATEWAY_INSIDE, SERVER, VM1};

use super::examination::{is_cut_off, names, reaches};

#[test]
fn an_instance_does_without_arp() -> Result<()> {
    names("arp-off", "eth0", |lab| {
        lab.vm1.ip("link set eth0 arp off")?;
        is_cut_off(&lab.gw, VM1)
    })
}

#[test]
fn the_router_has_noted_another_device() -> Result<()> {
    names("neighbour-wrong-mac", "10.0.0.11", |lab| {
        lab.gw.ip("neigh replace 10.0.0.11 lladdr 02:00:00:00:00:99 dev br0 nud permanent")?;
        is_cut_off(&lab.vm1, SERVER)
    })
}

#[test]
fn the_instance_has_noted_another_router() -> Result<()> {
    names("neighbour-wrong-mac", "10.0.0.1", |lab| {
        lab.vm1.ip("neigh replace 10.0.0.1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent")?;
        is_cut_off(&lab.vm1, SERVER)
    })
}

#[test]
fn a_rule_drops_what_asks() -> Result<()> {
    names("gateway-unanswered", "10.0.0.1", |lab| {
        for hook in ["input", "output"] {
            let chain = format!("{{ type filter hook {hook} priority 0; policy drop; }}");
            lab.vm1.cmd("nft").args(["add", "table", "arp", "none"]).run()?;
            lab.vm1.cmd("nft").args(["add", "chain", "arp", "none", hook, &chain]).run()?;
        }
        is_cut_off(&lab.vm1, GATEWAY_INSIDE)?;
        is_cut_off(&lab.gw, VM1)
    })
}

#[test]
fn nobody_is_the_gateway_outside() -> Result<()> {
    names("uplink-gateway-unanswered", "203.0.113.99", |lab| {
        reaches(&lab.vm1, SERVER, "-c 3")?;
        lab.gw.ip("route replace default via 203.0.113.99")?;
        is_cut_off(&lab.vm1, "192.0.2.1")
    })
}
