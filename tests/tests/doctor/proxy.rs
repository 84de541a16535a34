//! Addresses that nobody answers for.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use anyhow::{Result, ensure};
use lab::ends::tools::ping;

use super::examination::{Examination, healthy, iptables, names_what_stops};

#[test]
fn the_gateway_answers_no_arp() -> Result<()> {
    names_what_stops("arp-ignored", "br0", |lab| {
        lab.gw.sysctl("net.ipv4.conf.br0.arp_ignore", "8")?;
        lab.vm1.ip("neighbour flush all")
    })
}

/// What the router itself sends from its address there is led out by a policy.
#[test]
fn the_gateway_answers_arp_by_another_device() -> Result<()> {
    names_what_stops("arp-filtered", "br0", |lab| {
        lab.gw.ip("rule add from 10.0.0.1 lookup 100\nroute add default via 203.0.113.10 table 100")?;
        Examination::of(&lab.natbpf_cli()?)?.is_healthy()?;
        lab.gw.sysctl("net.ipv4.conf.br0.arp_filter", "1")?;
        lab.vm1.ip("neighbour flush all")
    })
}

#[test]
fn the_address_of_snat_is_nobodys() -> Result<()> {
    names_what_stops("snat-foreign-address", "203.0.113.77", |lab| {
        iptables(
            lab,
            "-t nat -F\n-t nat -A POSTROUTING -s 10.0.0.0/24 -o wan -j SNAT --to-source 203.0.113.77",
        )
    })
}

#[test]
fn nobody_answers_for_a_floating_address() -> Result<()> {
    let lab = healthy()?;
    iptables(&lab, "-t nat -A PREROUTING -d 203.0.113.50 -j DNAT --to-destination 10.0.0.11")?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("dnat-unanswered", "203.0.113.50")?;
    ensure!(ping(&lab.out, "203.0.113.50", "-c 1")?.received == 0, "a ping is answered all the same");
    // The kernel answers only for what its routes lead elsewhere.
    lab.gw.ip("neighbour add proxy 203.0.113.50 dev wan\nroute add 203.0.113.50 dev br0")?;
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()?;
    ensure!(
        ping(&lab.out, "203.0.113.50", "-c 2 -W 4")?.received > 0,
        "a proxy answers, and a ping is not answered"
    );
    Ok(())
}

/// The other one of a pair of routers has the address, and has not been heard of here.
#[test]
fn a_router_in_reserve_has_not_the_address() -> Result<()> {
    let lab = healthy()?;
    iptables(
        &lab,
        "-t nat -A PREROUTING -d 203.0.113.50 -j DNAT --to-destination 10.0.0.11\n\
         -t nat -I POSTROUTING -s 10.0.0.0/24 -o wan -j SNAT --to-source 203.0.113.50",
    )?;
    let (reader, _writer) = io::pipe()?;
    let mut keepalived = lab.gw.cmd("sh").args(["-c", "read line"]).stdin(Stdio::from(reader));
    keepalived.as_command().arg0("keepalived");
    let _keepalived = keepalived.spawn()?;
    Examination::of(&lab.natbpf_cli()?)?.notes("translated-address-elsewhere", "203.0.113.50")
}

#[test]
fn a_forward_leads_to_nobody() -> Result<()> {
    let lab = healthy()?;
    iptables(&lab, "-t nat -A PREROUTING -i wan -p icmp -j DNAT --to-destination 10.0.0.99")?;
    ensure!(ping(&lab.out, "203.0.113.1", "-c 1")?.received == 0, "somebody has 10.0.0.99");
    Examination::of(&lab.natbpf_cli()?)?.notes("dnat-to-nobody", "10.0.0.99")
}
