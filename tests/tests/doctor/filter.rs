//! Rules that drop.

use anyhow::{Result, ensure};

use super::examination::{Examination, healthy, iptables, names_what_stops, reaches_outside};

#[test]
fn the_policy_of_forward_is_drop() -> Result<()> {
    names_what_stops("forward-dropped", ":FORWARD DROP", |lab| iptables(lab, "-P FORWARD DROP"))
}

#[test]
fn a_rule_rejects_what_goes_out() -> Result<()> {
    let rule = "-A FORWARD -i br0 -j REJECT --reject-with icmp-port-unreachable";
    names_what_stops("forward-dropped", rule, |lab| {
        iptables(lab, &format!("{rule}\n-A FORWARD -s 10.0.0.0/24 -j ACCEPT"))
    })
}

#[test]
fn nftables_drops_what_iptables_accepts() -> Result<()> {
    let policy = "type filter hook forward priority filter; policy drop;";
    names_what_stops("forward-dropped-by-nft", policy, |lab| {
        iptables(lab, "-A FORWARD -j ACCEPT")?;
        let rules = "table inet guard { chain pass { type filter hook forward priority 0; policy drop; \
                     ct state established accept; }; }";
        lab.gw.cmd("nft").arg(rules).run()
    })
}

#[test]
fn answers_may_not_come_in() -> Result<()> {
    names_what_stops("answers-dropped", ":FORWARD DROP", |lab| {
        iptables(lab, "-P FORWARD DROP\n-A FORWARD -i br0 -j ACCEPT")
    })
}

#[test]
fn a_rule_is_for_icmp_alone() -> Result<()> {
    names_what_stops("icmp-dropped", "-A FORWARD -s 10.0.0.0/24 -p icmp -j DROP", |lab| {
        iptables(lab, "-A FORWARD -s 10.0.0.0/24 -p icmp -j DROP")
    })
}

/// Whether a rule for marked packets drops is not known.
#[test]
fn what_may_pass_is_no_cause() -> Result<()> {
    let lab = healthy()?;
    iptables(&lab, "-A FORWARD -m mark --mark 7 -j DROP\n-A FORWARD -p tcp --dport 25 -j REJECT")?;
    iptables(&lab, "-P FORWARD DROP\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")?;
    iptables(&lab, "-N GUARD\n-A FORWARD -m mark ! --mark 7 -j GUARD\n-A GUARD -j ACCEPT")?;
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()?;
    ensure!(reaches_outside(&lab)?, "a ping is not answered");
    Ok(())
}
