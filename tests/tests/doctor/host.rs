//! The kernel, and what is one for the whole host.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use lab::ends::tools::ping;
use lab::{INSIDE, Lab, SERVER};

use super::examination::{Examination, healthy, iptables, names};
use super::pretence::Pretence;

/// The machine's settings are not touched: the lab sees another value.
fn set(lab: &Lab, name: &str, value: &str) -> Result<Examination> {
    let _file = Pretence::new(format!("/proc/sys/net/{name}"), &format!("{value}\n"))?;
    Examination::of(&lab.natbpf_cli()?)
}

#[test]
fn the_table_of_neighbours_is_full() -> Result<()> {
    let lab = healthy()?;
    for vm in [&lab.vm1, &lab.vm2] {
        ensure!(ping(vm, SERVER, "-c 1")?.received == 1);
    }
    let limit = "net.ipv4.neigh.default.gc_thresh3";
    set(&lab, "ipv4/neigh/default/gc_thresh3", "5")?.is_alone("neighbour-table-full", limit)?;
    set(&lab, "ipv4/neigh/default/gc_thresh3", "1024")?.is_healthy()?;
    // These are not counted.
    let put = (100..120).map(|last| {
        format!("neighbour add 10.0.0.{last} lladdr 02:00:00:00:02:00 dev br0 nud reachable extern_learn\n")
    });
    lab.gw.ip(&put.collect::<String>())?;
    set(&lab, "ipv4/neigh/default/gc_thresh3", "16")?.is_healthy()
}

#[test]
fn the_backlog_is_short() -> Result<()> {
    let lab = healthy()?;
    set(&lab, "core/netdev_max_backlog", "10")?.is_alone("backlog-short", "net.core.netdev_max_backlog")
}

/// Without natbpf it is nobody's trouble.
#[test]
fn the_kernel_interprets_bpf() -> Result<()> {
    let lab = Lab::new()?;
    lab.gw.ip(&format!("route add default via {SERVER}"))?;
    let daemon = lab.natbpf_cli()?.start(["masquerade", "-o", "wan", "-s", INSIDE])?;
    set(&lab, "core/bpf_jit_enable", "0")?.is_alone("bpf-jit-off", "net.core.bpf_jit_enable")?;
    daemon.stop()?;
    lab.natbpf_cli()?.cmd().arg("detach").run()?;
    let found = set(&lab, "core/bpf_jit_enable", "0")?;
    ensure!(found.causes() == [("not-translated", INSIDE)], "{:#}", found.report);
    Ok(())
}

#[test]
fn a_security_module_has_denied_something() -> Result<()> {
    for (module, text) in [
        (
            "SELinux",
            "audit: type=1400 audit(1.0:9): avc:  denied  { prog_load } for  pid=7 comm=\"natbpf\" tclass=bpf",
        ),
        (
            "AppArmor",
            "audit: type=1400 audit(1.0:9): apparmor=\"DENIED\" operation=\"capable\" comm=\"natbpf\"",
        ),
    ] {
        let lab = healthy()?;
        let uptime = fs::read_to_string("/proc/uptime")?;
        let seconds = uptime.split('.').next().context("the uptime")?;
        let _log = Pretence::new("/dev/kmsg", &format!("5,99,{seconds}000000,-;{text}\n"))?;
        Examination::of(&lab.natbpf_cli()?)?.is_alone("security-module-denies", module)?;
    }
    Ok(())
}

#[test]
fn rules_for_ports_of_bridges_never_match() -> Result<()> {
    names("physdev-never-matches", "net.bridge.bridge-nf-call-iptables", |lab| {
        let rule = "-A FORWARD -m physdev --physdev-in port1 --physdev-is-bridged";
        iptables(lab, &format!("-N GUARD\n{rule} -j GUARD\n-A GUARD -p tcp --dport 25 -j REJECT"))?;
        lab.gw.sysctl("net.bridge.bridge-nf-call-iptables", "1")?;
        Examination::of(&lab.natbpf_cli()?)?.is_healthy()?;
        lab.gw.sysctl("net.bridge.bridge-nf-call-iptables", "0")
    })
}

/// As on hosts of virtual machines: what is bridged is accepted, should it ever be asked.
#[test]
fn rules_that_let_bridged_packets_pass_are_no_cause() -> Result<()> {
    let lab = healthy()?;
    lab.gw.sysctl("net.bridge.bridge-nf-call-iptables", "0")?;
    iptables(&lab, "-A FORWARD -m physdev --physdev-is-bridged -j ACCEPT")?;
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()
}
