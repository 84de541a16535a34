//! `natbpf accelerate` where packets pass other network namespaces: which ones, and what changes there.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Natbpf, Node, wait_until};
use serde_json::Value;

mod coming;
mod effect;
mod found;
mod liberal;
mod masquerade;
mod rules;

/// Until when a change counts.
const SOON: Duration = Duration::from_secs(1);

/// Until a flow goes on after something was mended: neighbours are looked for again.
const MENDED: Duration = Duration::from_secs(10);

/// So seldom the kernel is asked where a change should not have to wait for it.
const NEVER: &str = "10m";

/// natbpf between the edges that it finds.
fn start(node: &Node) -> Result<Natbpf> {
    node.natbpf_cli()?.start(["accelerate", "--revalidate", NEVER])
}

/// Packets that were repeated on paths that are known now, by the edge where they came in.
fn by_edge(natbpf: &Natbpf, edge: &str) -> Result<u64> {
    let text = natbpf.cli().cmd().args(["paths", "list", "--json", "--edge", edge]).output_text()?;
    let packets = |line: &str| -> Result<u64> {
        let path: Value = serde_json::from_str(line).context("a path")?;
        Ok(path["packets"].as_u64().unwrap_or_default())
    };
    text.lines().map(packets).sum()
}

/// Waits until packets are repeated from each of these edges.
fn is_repeated(natbpf: &Natbpf, edges: [&str; 2]) -> Result<()> {
    for edge in edges {
        let before = by_edge(natbpf, edge)?;
        // A change may end a path in between.
        let more = || Ok(by_edge(natbpf, edge)?.abs_diff(before) > 10);
        wait_until("packets are repeated", MENDED, more).with_context(|| natbpf.log())?;
    }
    Ok(())
}

fn repeated(natbpf: &Natbpf) -> Result<u64> {
    natbpf.counter("packets_repeated")
}

/// Names of the namespaces that are followed, sorted.
fn followed(natbpf: &Natbpf) -> Result<Vec<String>> {
    let status = natbpf.status_json()?;
    let all = status["namespaces"].as_array().context("`natbpf status --json` has no namespaces")?;
    let name = |namespace: &Value| namespace["name"].as_str().unwrap_or_default().to_owned();
    let mut names: Vec<String> = all.iter().map(name).collect();
    names.sort_unstable();
    Ok(names)
}

/// Waits until these are followed, and no others.
fn are_followed(natbpf: &Natbpf, names: &[&str]) -> Result<()> {
    wait_until("these namespaces are followed", 3 * SOON, || Ok(followed(natbpf)? == names))
        .with_context(|| format!("{names:?}, and not {:?}\n{}", followed(natbpf), natbpf.log()))
}

fn epoch(natbpf: &Natbpf) -> Result<u64> {
    natbpf.status_json()?["offload"]["epoch"].as_u64().context("`natbpf status --json` has no epoch")
}

fn no_complaint(natbpf: &Natbpf) -> Result<()> {
    let log = natbpf.log();
    ensure!(!log.contains("ERROR") && !log.contains("cannot listen"), "{log}");
    Ok(())
}
