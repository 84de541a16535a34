//! A host before, with and after `natbpf accelerate`: what works, what is repeated, and that the rules of the platform
//! stay as they are.

use std::panic;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum as _};

use super::complaints;
use super::host::{Event, Host};
use super::name::Name;
use super::repeated::Repeated;
use super::report::{self, Left, Report};
use super::rules;
use super::streams::{Protocol, Stream};
use crate::gateway::natbpf::{Cli, Natbpf};
use crate::process::interrupt;

/// Before and after an event packets pass for so long.
const BEFORE: Duration = Duration::from_secs(2);
const AROUND: u32 = 8;

/// Build hosts of real platforms and compare what works before, with and after `natbpf accelerate`
///
/// Each is made of Debian's packages, in namespaces of its own, with the platform's own daemons and rules. natbpf is
/// started without configuration. Nothing of a host stays behind. Needs root.
#[derive(Debug, Parser)]
#[command(
    name = "hosts",
    after_help = "Exit status: 0 when with natbpf all is as without it, the rules are the same, and 99 % of packets in \
                  masses are repeated, or none where something has to have them all; 1 when not; 2 for wrong usage."
)]
pub struct Options {
    /// Hosts; without any, all of them
    #[arg(value_enum, value_name = "NAME")]
    names: Vec<Name>,

    /// For so long TCP and UDP are sent both ways on each way through a host
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,

    /// Where packets of running flows are taken: natbpf's own option
    #[arg(long, value_name = "HOOK", default_value = "tc", value_parser = ["auto", "tc", "xdp"])]
    hook: String,
}

/// Runs them; whether all is well.
pub fn run(options: &Options) -> Result<bool> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "hosts are made of namespaces and mounts, which needs root: run it with sudo"
    );
    interrupt::install()?;
    let mut well = true;
    for name in Name::value_variants() {
        interrupt::check()?;
        if !(options.names.is_empty() || options.names.contains(name)) {
            continue;
        }
        if let Some(reason) = name.lacks() {
            ensure!(options.names.is_empty(), "{}: {reason}", name.title());
            println!("## {}\n\nLeft out: {reason}\n", name.title());
            continue;
        }
        eprintln!("hosts: {}: building", name.title());
        let report = one(*name, options).with_context(|| name.title())?;
        println!("{report}");
        well &= report.is_well();
    }
    Ok(well)
}

fn one(name: Name, options: &Options) -> Result<Report> {
    let say = |what: &str| eprintln!("hosts: {}: {what}", name.title());
    let built = name.build()?;
    let host = &*built;
    let mut report = Report::new(name.title());
    say("without natbpf");
    report.checks(host)?;
    report.devices(host)?;
    report.doctor("before natbpf", host)?;
    report.measure("without natbpf", host, &[])?;
    let before = rules::of(host)?;
    let complaints = complaints::of(host)?;

    say("with natbpf");
    let clis = [host.natbpf_cli()?].into_iter().chain(host.further_clis());
    let start = |cli: Cli| cli.start(["accelerate", "--hook", &options.hook]);
    let everywhere = clis.map(start).collect::<Result<Vec<_>>>()?;
    let natbpf = &everywhere[0];
    natbpf.ready_line().clone_into(&mut report.ready);
    report.changed("when natbpf begins", &before, &rules::of(host)?);
    report.checks(host)?;
    for stream in host.streams() {
        for protocol in Protocol::BOTH {
            interrupt::check()?;
            say(&format!("{}, {}", stream.name, protocol.name()));
            let share = Repeated::during(natbpf, || stream.send(protocol, options.seconds))?.share();
            let left = host.left_to_kernel(&stream).map(|device| left(natbpf, device)).transpose()?;
            let what = format!("{}, {}", stream.name, protocol.name());
            report.repeated.push(report::Repeated { what, share, left });
        }
    }
    report.devices(host)?;
    report.doctor("with natbpf", host)?;
    report.events = events(host, &say)?;
    report.measure("with natbpf", host, &everywhere)?;
    report.checks(host)?;
    report.complaints = complaints::of(host)?.difference(&complaints).cloned().collect();
    // Checks and events have had the platform write rules anew, perhaps in another order.
    let before = rules::of(host)?;
    for natbpf in everywhere {
        natbpf.stop()?;
    }

    say("after natbpf");
    report.changed("when natbpf ends", &before, &rules::of(host)?);
    report.checks(host)?;
    for namespace in [host.network()].into_iter().chain(host.routers()) {
        if rules::is_liberal(namespace)? {
            report.left_behind.push(format!("conntrack of {} is still liberal", namespace.name()));
        }
    }
    if report.complaints.is_empty() && report.events.iter().all(|(_, complaint)| complaint.is_none()) {
        return Ok(report);
    }
    say("building anew, to see what happens without natbpf");
    drop(built);
    let built = name.build()?;
    report.events_without = events(&*built, &say)?;
    built.checks().iter().for_each(|check| drop(check.complaint()));
    report.complaints_without = complaints::of(&*built)?;
    Ok(report)
}

/// Lets everything happen once; the complaints.
fn events(host: &dyn Host, say: &dyn Fn(&str)) -> Result<Vec<(&'static str, Option<String>)>> {
    let streams = host.streams();
    let stream = streams.first().context("no packets are sent in masses")?;
    let mut happened = Vec::new();
    for event in host.events() {
        interrupt::check()?;
        say(event.what);
        happened.push((event.what, happens(stream, &event).err().map(|error| format!("{error:#}"))));
    }
    Ok(happened)
}

/// Why natbpf leaves a device out.
fn left(natbpf: &Natbpf, device: &'static str) -> Result<Left> {
    let status = natbpf.cli().status_json()?;
    let found = status["left_out"].as_array().into_iter().flatten().find(|left| left["name"] == device);
    Ok(Left { device, reason: found.and_then(|left| left["reason"].as_str()).map(str::to_owned) })
}

/// Something happens to the platform while packets pass, and they go on.
fn happens(stream: &Stream<'_>, event: &Event<'_>) -> Result<()> {
    thread::scope(|scope| {
        // Daemons that an event starts have to outlive it, so it is this thread that starts them.
        let sending = scope.spawn(|| stream.send(Protocol::Tcp, AROUND));
        thread::sleep(BEFORE);
        let happened = (event.happen)();
        sending.join().unwrap_or_else(|cause| panic::resume_unwind(cause)).and(happened)
    })
}
