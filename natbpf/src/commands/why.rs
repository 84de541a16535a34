//! `natbpf why`

use std::{process::ExitCode, time::Duration};

use anyhow::Result;

use super::exit::{UNSEEN, USAGE};
use crate::{
    cli::{Cli, WhyArgs},
    doctor::{Site, examine},
    facts::Host,
    output, preflight,
    why::{
        Case, Chase, NextHop, Probe, Report, Request, Subject, SubjectError, Trace, Verdict, decide, entries,
        keep_own, names, rules,
    },
};

pub fn run(cli: &Cli, arguments: &WhyArgs) -> Result<ExitCode> {
    let complain = |error: &dyn std::fmt::Display, code: u8| {
        output::complain(format_args!("natbpf: {error}"))?;
        Ok(ExitCode::from(code))
    };
    if let Err(error) = preflight::check() {
        return complain(&error, UNSEEN);
    }
    let host = match Host::look(cli.netns.as_deref(), &cli.bpffs) {
        Ok(host) => host,
        Err(error) => return complain(&format_args!("{error:#}"), UNSEEN),
    };
    let site = Site::of(&host);
    let subject = match Subject::find(&host, &site, arguments.from.as_deref(), arguments.destination) {
        Ok(subject) => subject,
        Err(error @ (SubjectError::Silent(_) | SubjectError::NoAddress(..))) => {
            return complain(&error, UNSEEN);
        }
        Err(error) => return complain(&error, USAGE),
    };
    match follow(&host, &site, subject, arguments) {
        Ok(report) => {
            if arguments.json {
                output::print(report.json())?;
            } else {
                output::print(&report)?;
            }
            Ok(ExitCode::from(u8::from(matches!(report.verdict, Verdict::Cause { .. }))))
        }
        Err(error) => complain(&format_args!("cannot follow a packet: {error:#}"), UNSEEN),
    }
}

fn follow<'a>(
    host: &'a Host,
    site: &Site<'a>,
    subject: Subject<'a>,
    arguments: &WhyArgs,
) -> Result<Report<'a>> {
    let destination = arguments.destination;
    let probe = match (arguments.tcp, arguments.udp) {
        (Some(port), _) => Some(Probe::Tcp(port)),
        (_, Some(port)) => Some(Probe::Udp(port)),
        _ if arguments.ping || arguments.send => Some(Probe::Ping),
        _ => None,
    };
    let next_hop = subject.next_hop(site, destination);
    let patience = Duration::from_secs(arguments.wait.into());
    let mut chase = Chase::start(host, subject, Request { destination, probe, patience })?;
    let chased = match (probe, next_hop) {
        (Some(probe), NextHop::Ask(gateway)) if arguments.send => chase.send(probe, gateway)?,
        (_, NextHop::Unknown) if arguments.send => {
            anyhow::bail!(
                "the gateway of {} is not known: no router has an address in its network",
                subject.address
            )
        }
        // It would be watched for in vain.
        (_, NextHop::None) => crate::why::Chased::default(),
        _ => chase.watch()?,
    };
    let edge = (host.home().cookie, subject.edge.index);
    let elsewhere = chase.reason("OTHERHOST");
    let mut trace = Trace::of(&chased.sights, edge, elsewhere);
    keep_own(host, subject.edge, &mut trace);
    let long = chased.long.as_ref().map(|(length, sights)| (*length, Trace::of(sights, edge, elsewhere)));
    let names = names(&chase, &trace, long.as_ref().map(|(_, trace)| trace));
    let (entries, untold) = entries(host, &trace);
    let rules = probe.and_then(|probe| rules(&mut chase, host, &trace, &names, (probe, chased.gateway?)));
    let findings = examine(host);
    let verdict = decide(&Case {
        host,
        findings: &findings,
        subject: &subject,
        next_hop,
        destination,
        chased: &chased,
        trace: &trace,
        long: long.as_ref().map(|(length, trace)| (*length, trace)),
        names: &names,
        rules: rules.as_deref().unwrap_or_default(),
        sent: arguments.send,
    });
    let mut unseen = host.unseen.clone();
    unseen.extend(chased.unseen.into_iter().chain(untold));
    let what = probe.map_or_else(|| "whatever it sends".to_owned(), Probe::name);
    Ok(Report { host, subject, destination, what, sent: arguments.send, trace, entries, verdict, unseen })
}
