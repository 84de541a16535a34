//! `natbpf accelerate` on a node of a cloud: bridges, veth pairs, and a router with MASQUERADE in a namespace of its
//! own stay as they are.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::{
    Namespace, Natbpf, Node, SERVER, SERVER_V6, VM1, VM1_V6, VM2, VM2_V6, netns::counters, wait_until,
};
use serde_json::Value;

mod bad_input;
mod bridge;
mod changed;
mod connection;
mod device;
mod effect;
mod flooded;
mod forged;
mod kill;
mod lasting;
mod length;
mod limited;
mod migration;
mod mirror;
mod moved;
mod paths;
mod protocols;
mod time_to_live;
mod traffic;
mod vlan;
mod xdp;

/// What an interruption may last, and until when a change counts.
const SOON: Duration = Duration::from_secs(1);

/// So seldom the kernel is asked where a change should not have to wait for it.
const NEVER: &str = "10m";

/// Addresses of one family.
#[derive(Clone, Copy, Debug)]
struct Family {
    vm1: IpAddr,
    vm2: IpAddr,
    server: IpAddr,
}

const FAMILIES: [Family; 2] = [
    Family { vm1: IpAddr::V4(VM1), vm2: IpAddr::V4(VM2), server: IpAddr::V4(SERVER) },
    Family { vm1: IpAddr::V6(VM1_V6), vm2: IpAddr::V6(VM2_V6), server: IpAddr::V6(SERVER_V6) },
];

/// A namespace, and an address in it.
type End<'a> = (&'a Namespace, IpAddr);

/// natbpf between these edges, and further arguments.
fn start_between(node: &Node, arguments: &[&str]) -> Result<Natbpf> {
    node.natbpf_cli()?.start(["accelerate"].iter().chain(arguments))
}

/// Between an instance and the outside.
fn start(node: &Node, arguments: &[&str]) -> Result<Natbpf> {
    start_between(node, &[&["tap0", "eth0"], arguments].concat())
}

fn repeated(natbpf: &Natbpf) -> Result<u64> {
    natbpf.counter("packets_repeated")
}

/// What `natbpf paths list` has for these arguments.
fn paths(natbpf: &Natbpf, arguments: &[&str]) -> Result<Vec<Value>> {
    let text = natbpf.cli().cmd().args(["paths", "list", "--json"]).args(arguments).output_text()?;
    text.lines().map(|line| serde_json::from_str(line).context("a path")).collect()
}

/// Packets of UDP that were repeated from an edge on, by the paths that hold.
fn repeated_from(natbpf: &Natbpf, edge: &str) -> Result<u64> {
    let all = paths(natbpf, &["--protocol", "udp"])?;
    let from = all.iter().filter(|path| path["comes"]["edge"] == edge);
    Ok(from.filter_map(|path| path["packets"].as_u64()).sum())
}

/// Questions by UDP from one end to the other, each answered; how many packets were repeated meanwhile.
fn ask(natbpf: &Natbpf, client: End<'_>, server: End<'_>, questions: u64) -> Result<u64> {
    let server = Reflector::start(server.0, (server.1, 9000))?;
    let client = client.0.udp((client.1, 5000))?;
    let before = repeated(natbpf)?;
    for question in 0..questions {
        server.ask(&client, &format!("question {question}"))?;
    }
    Ok(repeated(natbpf)? - before)
}

/// Waits until packets of a pulse are repeated in both directions.
fn is_repeated(natbpf: &Natbpf) -> Result<()> {
    let both =
        || -> Result<[u64; 2]> { Ok([repeated_from(natbpf, "tap0")?, repeated_from(natbpf, "eth0")?]) };
    let before = both()?;
    let more = || Ok(both()?.iter().zip(before).all(|(now, before)| *now > before + 10));
    wait_until("packets of the pulse are repeated", 3 * SOON, more).with_context(|| natbpf.log())
}

/// Packets that these ends have sent.
fn sent(ends: &[&Namespace]) -> Result<u64> {
    ends.iter().map(|end| counters::sent(end, "eth0")).sum()
}

/// Does `work`, and says how many packets these ends have sent for it, and how many were repeated.
fn share(natbpf: &Natbpf, ends: &[&Namespace], work: impl FnOnce() -> Result<()>) -> Result<[u64; 2]> {
    let before = [sent(ends)?, repeated(natbpf)?];
    work()?;
    Ok([sent(ends)? - before[0], repeated(natbpf)? - before[1]])
}

/// More than 97 of 100: connections begin and end by the kernel.
fn nearly_all([all, repeated]: [u64; 2], natbpf: &Natbpf) -> Result<()> {
    ensure!(all > 500, "only {all} packets say nothing");
    ensure!(
        repeated * 100 > all * 97,
        "{repeated} of {all} packets were repeated\n{}{}",
        natbpf.status()?,
        natbpf.log()
    );
    Ok(())
}

/// Nobody has thrown away anything for its checksum.
fn no_errors(node: &Node) -> Result<()> {
    for namespace in node.namespaces() {
        let errors = counters::csum_errors(namespace)?;
        let segments = counters::nstat(namespace)?.get("TcpInErrs").copied().unwrap_or_default();
        ensure!(
            (errors, segments) == (0, 0),
            "{errors} wrong checksums and {segments} bad segments in {}",
            namespace.name()
        );
    }
    Ok(())
}

fn ethtool(namespace: &Namespace, devices: &[&str], features: &str) -> Result<()> {
    devices
        .iter()
        .try_for_each(|device| namespace.cmd("ethtool").args(["-K", device]).args(features.split(' ')).run())
}

fn shell(namespace: &Namespace, command: &str) -> Result<()> {
    namespace.cmd("sh").args(["-c", command]).run()
}
