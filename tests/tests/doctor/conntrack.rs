//! Flows that are not tracked, or not where their answers are looked for.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Result, ensure};
use lab::Lab;

use super::examination::{Examination, healthy, iptables, names_what_stops, reaches_outside};

const LIMIT: &str = "net.netfilter.nf_conntrack_max";

#[test]
fn a_rule_of_raw_keeps_it_from_being_tracked() -> Result<()> {
    let rule = "-A PREROUTING -i br0 -j NOTRACK";
    names_what_stops("untracked", rule, |lab| iptables(lab, &format!("-t raw {rule}")))
}

#[test]
fn nftables_keeps_the_answers_from_being_tracked() -> Result<()> {
    let rule = "iifname \"wan\" notrack # handle 2";
    names_what_stops("answers-untracked", rule, |lab| {
        let rules = "table ip early { chain pre { type filter hook prerouting priority -300; \
                     iifname wan notrack; }; }";
        lab.gw.cmd("nft").arg(rules).run()
    })
}

#[test]
fn answers_are_looked_for_in_another_zone() -> Result<()> {
    let rule = "-A PREROUTING -i br0 -j CT --zone 5";
    names_what_stops("answers-in-other-zone", rule, |lab| iptables(lab, &format!("-t raw {rule}")))?;
    // The same for answers alone.
    let rule = "-A PREROUTING -i wan -j CT --zone 5";
    names_what_stops("answers-in-other-zone", rule, |lab| iptables(lab, &format!("-t raw {rule}")))
}

#[test]
fn nftables_puts_a_network_into_a_zone() -> Result<()> {
    names_what_stops("answers-in-other-zone", "iifname \"br0\" ct zone set 5 # handle 2", |lab| {
        let rules = "table ip early { chain pre { type filter hook prerouting priority -300; \
                     iifname br0 ct zone set 5; }; }";
        lab.gw.cmd("nft").arg(rules).run()
    })
}

/// Where answers are looked for in the same zone, they are found.
#[test]
fn zones_that_are_no_cause() -> Result<()> {
    for rules in [
        "-t raw -A PREROUTING -i br0 -j CT --zone-orig 5",
        "-t raw -A PREROUTING -i br0 -j CT --zone 5\n-t raw -A PREROUTING -i wan -j CT --zone 5",
        "-t raw -A PREROUTING -i br0 -j CT --zone 5\n-t raw -A PREROUTING -i wan -j CT --zone-reply 5",
    ] {
        let lab = healthy()?;
        iptables(&lab, rules)?;
        ensure!(reaches_outside(&lab)?, "{rules}: no answer");
        Examination::of(&lab.natbpf_cli()?)?.is_healthy()?;
    }
    Ok(())
}

/// Enters flows, each with a port and an address of its own, that the kernel does not give up for others.
fn enter(lab: &Lab, flows: std::ops::Range<u32>) -> Result<()> {
    let mut lines = String::new();
    for flow in flows {
        let (host, port) = (flow >> 14, 1024 + (flow & 0x3fff));
        writeln!(
            lines,
            "-I -p tcp -s 10.0.0.11 -d 198.51.100.{host} --sport {port} --dport 80 --state ESTABLISHED -u ASSURED \
             -t 1000"
        )?;
    }
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(lines.as_bytes())?;
    // Where there is no more room, it says so.
    lab.gw.cmd("conntrack").arg("-R").arg(file.path()).output()?;
    Ok(())
}

/// How many flows there may be is the whole machine's to say; so many are entered.
#[test]
fn the_table_fills() -> Result<()> {
    let lab = healthy()?;
    ensure!(reaches_outside(&lab)?, "the lab is not healthy");
    let limit: u32 = lab.gw.read("/proc/sys/net/netfilter/nf_conntrack_max")?.trim().parse()?;
    let most = limit / 100 * 92;
    enter(&lab, 0..most)?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("conntrack-nearly-full", LIMIT)?;
    ensure!(reaches_outside(&lab)?, "there is room, and a ping is not answered");
    enter(&lab, most..limit + 100)?;
    ensure!(!reaches_outside(&lab)?, "a ping is answered all the same");
    // Flows of before run out meanwhile, and leave room.
    for begin in (1..10).map(|round| limit + 100 * round) {
        enter(&lab, begin..begin + 100)?;
        if Examination::of(&lab.natbpf_cli()?)?.is_alone("conntrack-full", LIMIT).is_ok() {
            return Ok(());
        }
    }
    Examination::of(&lab.natbpf_cli()?)?.is_alone("conntrack-full", LIMIT)
}
