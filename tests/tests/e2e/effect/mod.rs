//! Whether changes take effect on flows that are offloaded, and when: row by row of the table that operators are shown.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::gateway::natbpf::Cli;
use lab::netns::agent::{Agent, Place};
use lab::{INSIDE, Lab, Namespace, Natbpf};

mod others;
mod table;

use super::offload::{asked, pulse::Pulse};
use table::{ROWS, Row, Seen, When};

/// So often the kernel is asked where no change should have to wait for it, and where one should.
const NEVER: &str = "10m";
const SHORT: Duration = Duration::from_secs(2);

/// On a machine that is busy with other tests.
const AT_ONCE: Duration = Duration::from_millis(1500);
const A_SECOND: Duration = Duration::from_secs(3);

fn start(lab: &Lab, revalidate: &str) -> Result<Natbpf> {
    let standard = ["masquerade", "-o", "wan", "-s", INSIDE, "--offload", "on", "--revalidate", revalidate];
    lab.natbpf_cli()?.start(standard)
}

fn shell(ns: &Namespace, command: &str) -> Result<()> {
    ns.cmd("sh").args(["-c", command]).run()
}

/// Packets repeated, out and in.
fn offloaded(cli: &Cli) -> Result<u64> {
    Ok(cli.counter("egress_offloaded")? + cli.counter("ingress_offloaded")?)
}

/// Waits until nearly all packets are repeated, in both directions.
fn is_offloaded(natbpf: &Natbpf) -> Result<()> {
    let end = Instant::now() + A_SECOND;
    loop {
        let count =
            || ["egress_offloaded", "ingress_offloaded"].map(|name| natbpf.counter(name).unwrap_or_default());
        let before = count();
        thread::sleep(Duration::from_millis(100));
        let after = count();
        if after[0] > before[0] + 10 && after[1] > before[1] + 10 {
            return Ok(());
        }
        ensure!(Instant::now() < end, "nothing is offloaded\n{}", natbpf.log());
    }
}

/// Waits until no packet is repeated, while the flow goes on.
fn is_the_kernels(natbpf: &Natbpf, pulse: &Pulse, change: Instant, limit: Duration) -> Result<()> {
    loop {
        let before = offloaded(natbpf.cli())?;
        thread::sleep(Duration::from_millis(100));
        if offloaded(natbpf.cli())? == before {
            break;
        }
        ensure!(change.elapsed() < limit, "it still is offloaded after {limit:?}\n{}", natbpf.log());
    }
    let before = offloaded(natbpf.cli())?;
    pulse.goes_on(Duration::from_secs(2))?;
    thread::sleep(Duration::from_millis(300));
    let after = offloaded(natbpf.cli())?;
    ensure!(after == before, "it is offloaded again: {} packets\n{}", after - before, natbpf.log());
    Ok(())
}

fn check(row: &Row) -> Result<()> {
    let lab = Lab::new()?;
    if let Some((command, refusal)) = row.needs
        && let Err(error) = shell(&lab.gw, command)
    {
        // No package brings it: another kernel has to be started (`cargo xtask vm -- e2e effect`).
        ensure!(format!("{error:#}").contains(refusal), "{error:#}");
        eprintln!("not tested: {}, which this kernel was built without: {error:#}", row.change);
        return Ok(());
    }
    for command in row.before {
        shell(&lab.gw, command)?;
    }
    let revalidate = if row.when == When::WithinRevalidate { "2s" } else { NEVER };
    let natbpf = start(&lab, revalidate)?;
    let pulse = Pulse::start(&lab)?;
    is_offloaded(&natbpf)?;
    for command in row.prepare {
        shell(&lab.gw, command)?;
    }
    is_offloaded(&natbpf)?;
    let noted = asked(&natbpf)?;
    let change = Instant::now();
    let agent = match row.agent {
        Some((device, place)) => Some(Agent::attach(&lab.gw, device, place)?),
        None => shell(&lab.gw, row.command).map(|()| None)?,
    };
    let limit = match row.when {
        When::AtOnce => AT_ONCE,
        When::WithinASecond => A_SECOND,
        When::WithinRevalidate => SHORT + AT_ONCE,
    };
    match row.seen {
        Seen::Stops => {
            let last = pulse.last_answer(change, limit + Duration::from_millis(500));
            ensure!(last < limit, "answers still came after {last:?}\n{}", natbpf.log());
            // It has made the change itself, and not ended by chance.
            ensure!(change.elapsed() < limit + Duration::from_secs(2), "it took too long to see");
        }
        Seen::Asks => {
            while asked(&natbpf)? == noted {
                ensure!(change.elapsed() < limit, "nobody has asked the kernel\n{}", natbpf.log());
                thread::sleep(Duration::from_millis(50));
            }
            is_offloaded(&natbpf)?;
        }
        Seen::Kernel | Seen::Rule => is_the_kernels(&natbpf, &pulse, change, limit)?,
    }
    if row.seen == Seen::Kernel {
        let warnings = natbpf.log().lines().filter(|line| line.contains("WARN")).count();
        ensure!(warnings == 1, "{warnings} warnings\n{}", natbpf.log());
        let others = natbpf.status_json()?["others"].to_string();
        ensure!(others != "[]", "status does not show it: {others}");
    }
    if row.seen == Seen::Rule {
        let named = natbpf.status_json()?["obstacles"].to_string();
        ensure!(named.contains("limit"), "status does not name it: {named}");
    }
    drop(agent);
    if let Some(undo) = row.undo {
        shell(&lab.gw, undo)?;
    }
    if matches!(row.seen, Seen::Kernel | Seen::Rule) {
        is_offloaded(&natbpf)?;
    }
    Ok(())
}

/// Rows with this in their names, or all.
fn chosen() -> Vec<&'static Row> {
    let wanted = std::env::var("NATBPF_EFFECT").unwrap_or_default();
    ROWS.iter().filter(|row| row.change.contains(&wanted)).collect()
}

/// How many rows are tested at a time: each has a lab of its own, and mostly waits.
const AT_A_TIME: usize = 3;

#[test]
fn every_change_takes_effect_when_the_table_says() -> Result<()> {
    let (rows, next, wrong) = (chosen(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = check(row) {
                        let what = format!("{} (`{}`): {error:#}", row.change, row.command);
                        wrong.lock().expect("nobody panics with it").push(what);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("nobody panics with it");
    ensure!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
    Ok(())
}

/// What operators read is what is tested.
#[test]
fn the_table_for_operators_is_this_one() -> Result<()> {
    // Part of the program, which runs on other kernels without it.
    const PAGE: &str = include_str!("../../../../docs/operations.md");
    let Some((_, after)) = PAGE.split_once("### What takes effect when\n") else {
        bail!("docs/operations.md has no such table")
    };
    let section = after.split("\n#").next().unwrap_or_default();
    let shown: Vec<&str> = section.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    let wanted: Vec<String> = ROWS
        .iter()
        .map(|row| format!("| {} | `{}` | {} |", row.change, row.command, row.when.name()))
        .collect();
    ensure!(shown == wanted, "the table of docs/operations.md has to be\n{}", wanted.join("\n"));
    let changes: BTreeSet<&str> = ROWS.iter().map(|row| row.change).collect();
    ensure!(changes.len() == ROWS.len(), "two rows have the same name");
    Ok(())
}
