//! `natbpf paths`: what this host does to which packets, and how to have it asked again.

use anyhow::{Result, ensure};
use lab::Node;
use lab::process::Stream;
use serde_json::Value;

use super::{NEVER, SOON, is_repeated, paths, start};
use crate::e2e::offload::pulse::Pulse;

#[test]
fn paths_are_listed_counted_and_ended() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node, &["--revalidate", NEVER])?;
    let run = |line: &str| -> Result<String> {
        let output = natbpf.cli().output(line.split(' '))?;
        Ok(String::from_utf8(output.stdout)?)
    };
    let pulse = Pulse::start(&node)?;
    is_repeated(&natbpf)?;

    let list = run("paths list --protocol udp --edge tap0")?;
    let [there, back] = [
        "tap0 udp 10.0.0.11:5000 > 203.0.113.10:9  becomes  eth0 203.0.113.1:5000 > 203.0.113.10:9  1 hop, ",
        "eth0 udp 203.0.113.10:9 > 203.0.113.1:5000  becomes  tap0 203.0.113.10:9 > 10.0.0.11:5000  1 hop, ",
    ];
    for path in [there, back] {
        ensure!(list.lines().filter(|line| line.starts_with(path)).count() == 1, "no {path}in\n{list}");
    }
    ensure!(run("paths count --protocol udp")? == "2\n", "{list}");
    ensure!(run("paths count --protocol udp --source 10.0.0.11")? == "1\n", "{list}");
    ensure!(run("paths count --protocol udp --sport 4999")? == "0\n", "{list}");
    ensure!(run("paths count --edge tap1")? == "0\n", "{list}");
    let json = paths(&natbpf, &["--source", "10.0.0.11"])?;
    ensure!(
        json.len() == 1 && json[0]["leaves"]["source"] == "203.0.113.1" && json[0]["hops"] == 1,
        "{json:?}"
    );

    // A flow that runs goes on: the kernel is asked, and says the same.
    let age = |all: &[Value]| all.iter().filter_map(|path| path["asks_in_seconds"].as_u64()).max();
    let asked = natbpf.counter("paths_noted")? + natbpf.counter("paths_renewed")?;
    ensure!(run("paths flush --protocol udp")? == "2 paths have been ended\n");
    pulse.goes_on(SOON)?;
    is_repeated(&natbpf)?;
    let again = natbpf.counter("paths_noted")? + natbpf.counter("paths_renewed")?;
    ensure!(again >= asked + 2, "the kernel was asked {asked} times, and {again} after that");
    ensure!(age(&paths(&natbpf, &["--protocol", "udp"])?).is_some());

    drop(pulse);
    ensure!(run("paths flush --source 10.0.0.11 --protocol udp")? == "1 paths have been ended\n");
    ensure!(run("paths count --protocol udp")? == "1\n");
    ensure!(run("paths flush --destination 10.0.0.11 --protocol udp")? == "1 paths have been ended\n");
    ensure!(run("paths count --protocol udp")? == "0\n");
    let none = natbpf.cli().output(["paths", "flush", "--protocol", "udp"])?;
    ensure!(none.status.code() == Some(1), "{none:?}");
    Ok(())
}

/// Those that come, change and go, as it happens.
#[test]
fn paths_are_watched() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node, &["--revalidate", NEVER])?;
    let filter = ["--protocol", "udp", "--edge", "tap0"];
    let watching = natbpf.cli().cmd().args(["paths", "watch"]).args(filter).spawn()?;
    let as_json = natbpf.cli().cmd().args(["paths", "watch", "--json"]).args(filter).spawn()?;
    let pulse = Pulse::start(&node)?;
    let there =
        "tap0 udp 10.0.0.11:5000 > 203.0.113.10:9  becomes  eth0 203.0.113.1:5000 > 203.0.113.10:9  1 hop";
    let wait = |event: &str| {
        watching
            .wait_for(Stream::Stdout, 4 * SOON, |line| line.starts_with(&format!("[{event}] {there}")))?;
        as_json.wait_for(Stream::Stdout, 4 * SOON, |line| {
            let path: Value = serde_json::from_str(line).unwrap_or_default();
            path["event"] == event
                && path["comes"]["source"] == "10.0.0.11"
                && path["leaves"]["edge"] == "eth0"
        })
    };
    wait("new")?;
    drop(pulse);
    // It may have run out already.
    natbpf.cli().cmd().args(["paths", "flush"]).output()?;
    wait("gone")?;
    Ok(())
}
