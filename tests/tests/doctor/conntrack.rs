//! Flows that are not tracked.

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
    Examination::of(&lab.natbpf_cli()?)?.is_alone("conntrack-full", LIMIT)
}
