//! A trace that runs, and what it shows.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::gateway::natbpf::Cli;
use lab::process::{Process, Stream};
use lab::{INSIDE, Lab, Natbpf, Schema};
use nix::sys::signal::Signal;
use serde_json::Value;

pub const PATIENCE: Duration = Duration::from_secs(10);

/// The standard lab, masqueraded, where every packet passes both hooks of the uplink.
pub fn masqueraded(lab: &Lab) -> Result<Natbpf> {
    lab.natbpf_cli()?.start(["masquerade", "-o", "wan", "-s", INSIDE, "--offload", "off"])
}

/// Starts one, and waits until it looks.
pub fn start(cli: &Cli, arguments: &[&str]) -> Result<Process> {
    let process = cli.cmd().arg("trace").args(arguments).spawn()?;
    process.wait_for(Stream::Stderr, PATIENCE, |line| line.starts_with("tracing"))?;
    Ok(process)
}

/// Does `work` while JSON is written, and returns the lines, which have the form that is described.
pub fn during(cli: &Cli, arguments: &[&str], work: impl FnOnce() -> Result<()>) -> Result<Vec<Value>> {
    let process = start(cli, &[&["--json"], arguments].concat())?;
    work()?;
    let output = process.stop(Signal::SIGINT, PATIENCE)?;
    let (text, said) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    ensure!(output.status.code() == Some(0), "{}: {said}", output.status);
    ensure!(said.contains("shown; 0 sights of packets lost"), "{said}");
    let lines = text.lines().map(|line| serde_json::from_str(line).context("a line of JSON"));
    let lines = lines.collect::<Result<Vec<Value>>>()?;
    let schema = Schema::of("trace")?;
    lines.iter().try_for_each(|line| schema.check(line).with_context(|| format!("{line:#}")))?;
    Ok(lines)
}

/// The packet at this hook and device, both before and after, whose fields before are these.
pub fn passage(
    lines: &[Value],
    (device, hook): (&str, &str),
    is_it: impl Fn(&Value) -> bool,
) -> Result<[Value; 2]> {
    let here = |line: &&Value| line["device"] == device && line["hook"] == hook;
    let before = lines.iter().filter(here).find(|line| line["stage"] == "before" && is_it(line));
    let before = before.with_context(|| format!("no packet at {hook} of {device} in {lines:#?}"))?;
    let same =
        |line: &&Value| ["cpu", "passage", "device", "hook"].iter().all(|key| line[key] == before[key]);
    let after = lines.iter().find(|line| line["stage"] == "after" && same(line));
    let after = after.with_context(|| format!("nothing after {before:#}"))?;
    Ok([before.clone(), after.clone()])
}

/// Whether it has this source and destination.
pub fn goes(line: &Value, source: &str, destination: &str) -> bool {
    line["packet"]["source"] == source && line["packet"]["destination"] == destination
}
