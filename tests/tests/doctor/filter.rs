//! Rules that drop.

use anyhow::{Context as _, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::{Lab, Namespace, SERVER, VM1, isolate};

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

/// Whoever has dropped is told to accept: rules of another program are of no use.
#[test]
fn what_is_to_be_typed_is_for_who_drops() -> Result<()> {
    let nft = "table inet guard { chain pass { type filter hook forward priority 0; policy drop; \
               iifname \"br0\" accept; }; }";
    for (cause, program, words) in [
        ("answers-dropped", "nft", vec![nft]),
        ("forward-dropped", "iptables-legacy", vec!["-A", "FORWARD", "-i", "br0", "-j", "DROP"]),
        ("answers-dropped", "iptables-legacy", vec!["-A", "FORWARD", "-i", "wan", "-j", "DROP"]),
        ("icmp-dropped", "iptables-legacy", vec!["-A", "FORWARD", "-i", "br0", "-p", "icmp", "-j", "DROP"]),
    ] {
        let lab = healthy()?;
        let cli = lab.natbpf_cli()?;
        lab.gw.cmd(program).args(words).run()?;
        ensure!(!reaches_outside(&lab)?, "{cause} {program}");
        let found = Examination::of(&cli)?;
        ensure!(found.causes().first().is_some_and(|(first, _)| *first == cause), "{:#}", found.report);
        found.mends(&lab.gw)?;
        ensure!(reaches_outside(&lab)?, "{:#}", found.report);
        Examination::of(&cli)?.is_healthy()?;
    }
    Ok(())
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

/// The healthy lab has a rule of nf_tables that translates.
#[test]
fn legacy_rules_are_asked_besides() -> Result<()> {
    let lab = healthy()?;
    let legacy = |lines: &str| {
        let mut lines = lines.lines().map(|line| line.split(' '));
        lines.try_for_each(|line| lab.gw.cmd("iptables-legacy").args(line).run())
    };
    legacy("-A FORWARD -i br0 -p tcp --dport 25 -j DROP")?;
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()?;
    legacy("-A FORWARD -i br0 -j ACCEPT\n-A FORWARD -o br0 -j ACCEPT\n-P FORWARD DROP")?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("legacy-beside-nf-tables", ":FORWARD DROP")?;
    ensure!(reaches_outside(&lab)?, "it is a warning, and a ping is not answered");
    // A rule of nf_tables that accepts does not help.
    legacy("-D FORWARD -i br0 -j ACCEPT")?;
    iptables(&lab, "-I FORWARD -i br0 -j ACCEPT")?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("forward-dropped", ":FORWARD DROP")?;
    ensure!(!reaches_outside(&lab)?, "a ping is answered all the same");
    Ok(())
}

/// Whether this kernel has flowtables; it says so where not. Those of `cargo xtask vm` have.
fn has_flowtables() -> Result<bool> {
    let _isolation = isolate()?;
    let table = "table inet probe { flowtable ft { hook ingress priority 0; devices = { lo }; }; }";
    match Namespace::new("probe")?.cmd("nft").arg(table).run() {
        Err(error) if format!("{error:#}").contains("No such file or directory") => {
            eprintln!("this kernel has no flowtables: nothing was tried");
            Ok(false)
        }
        made => made.map(|()| true),
    }
}

/// Packets that a rule has counted.
fn counted(lab: &Lab, rule: &str) -> Result<u64> {
    let text = lab.gw.cmd("iptables-nft-save").arg("-c").output_text()?;
    let counted = text.lines().find_map(|line| line.strip_suffix(rule)?.strip_prefix('[')?.split(':').next());
    Ok(counted.context("the rule is not there")?.parse()?)
}

/// Of twenty questions and answers it sees the first ones alone.
#[test]
fn a_flowtable_takes_flows_past_a_rule() -> Result<()> {
    if !has_flowtables()? {
        return Ok(());
    }
    let lab = healthy()?;
    let cli = lab.natbpf_cli()?;
    let rule = "-A FORWARD -p udp -m quota --quota 1000000 -j ACCEPT";
    iptables(&lab, rule)?;
    let server = Reflector::start(&lab.out, (SERVER, 9000))?;
    let ask = |port: u16| -> Result<u64> {
        let before = counted(&lab, rule)?;
        let socket = lab.vm1.udp((VM1, port))?;
        (0..20).try_for_each(|_| server.ask(&socket, "hello").map(drop))?;
        Ok(counted(&lab, rule)? - before)
    };
    ensure!(ask(20_000)? == 40, "the rule sees all packets");
    let table = "table inet fast { flowtable ft { hook ingress priority 0; devices = { br0, wan }; }; \
                 chain pass { type filter hook forward priority 0; ip protocol udp flow add @ft; }; }";
    lab.gw.cmd("nft").arg(table).run()?;
    ensure!(ask(20_001)? < 20, "the rule sees them all the same");
    Examination::of(&cli)?.notes("flowtable-passes-rules", rule)?;
    // Of a device that is not in the table, packets are not taken.
    lab.gw.cmd("nft").arg("delete table inet fast").run()?;
    lab.gw.cmd("nft").arg(table.replace("br0, ", "")).run()?;
    let found = Examination::of(&cli)?;
    ensure!(found.notes("flowtable-passes-rules", rule).is_err(), "{:#}", found.report);
    Ok(())
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
