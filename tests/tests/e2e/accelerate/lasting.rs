//! A memory has an end: what changes in another namespace while no daemon follows counts within `revalidate`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::gateway::natbpf::Cli;
use lab::wire::Wire;
use lab::{GATEWAY, Node, becomes_true};
use natbpf_common::wire::protocol;

use super::{SOON, is_repeated, shell, start};
use crate::e2e::offload::pulse::Pulse;

const REVALIDATE: Duration = Duration::from_secs(2);
/// What comes on top: a packet on its way, and a busy machine.
const MARGIN: Duration = Duration::from_millis(300);

/// A flow whose packets are repeated, and a daemon that is killed.
fn alone(node: &Node) -> Result<(Pulse, Cli)> {
    let natbpf = start(node, &["--revalidate", "2s"])?;
    let pulse = Pulse::start(node)?;
    is_repeated(&natbpf)?;
    Ok((pulse, natbpf.kill()?))
}

/// A change in the router's namespace stops the flow.
fn stops(prepare: &str, change: &str) -> Result<()> {
    let node = Node::new()?;
    let (pulse, cli) = alone(&node)?;
    shell(&node.router, prepare)?;
    let before = cli.counter("packets_repeated")?;
    pulse.goes_on(SOON)?;
    ensure!(cli.counter("packets_repeated")? > before, "nothing is repeated after the kill");
    let start = Instant::now();
    shell(&node.router, change)?;
    let last = pulse.last_answer(start, REVALIDATE + SOON);
    ensure!(last < REVALIDATE + MARGIN, "answers still came after {last:?}");
    Ok(())
}

#[test]
fn a_drop_rule_of_the_router() -> Result<()> {
    stops("true", "iptables -I FORWARD -i qr -j DROP")
}

#[test]
fn a_drop_rule_of_the_router_by_nft() -> Result<()> {
    stops(
        "nft 'add table ip guard; add chain ip guard forward { type filter hook forward priority 0; }'",
        "nft add rule ip guard forward udp dport 9 drop",
    )
}

/// Nothing new may begin, so what conntrack does not know any more is over.
#[test]
fn a_connection_that_the_router_forgets() -> Result<()> {
    stops(
        "iptables -A FORWARD -m conntrack --ctstate NEW -j DROP",
        "conntrack -D -p udp --orig-src 10.0.0.11",
    )
}

#[test]
fn a_router_without_its_way_out() -> Result<()> {
    stops("true", "ip link set qg down")
}

/// Nothing leaves with the old address afterwards, and the flow goes on with the new one.
#[test]
fn another_address_of_the_router() -> Result<()> {
    let node = Node::new()?;
    let (pulse, _) = alone(&node)?;
    let outside = Wire::between(&node.out, "eth0", (&node.router, "qg"))?;
    let start = Instant::now();
    node.router.ip("addr del 203.0.113.1/24 dev qg\naddr add 203.0.113.2/24 dev qg")?;
    let from_inside = |source| {
        outside.find_within(SOON, |seen| {
            !seen.outgoing && seen.protocol() == protocol::UDP && seen.src() == source
        })
    };
    let new = || Ok(from_inside([203, 0, 113, 2].into())?.is_some());
    ensure!(becomes_true(REVALIDATE + MARGIN, new)?, "nothing leaves with the new address");
    std::thread::sleep((REVALIDATE + MARGIN).saturating_sub(start.elapsed()));
    outside.drain_for(Duration::ZERO)?;
    ensure!(
        from_inside(GATEWAY)?.is_none(),
        "after {:?} packets leave with the old address",
        start.elapsed()
    );
    pulse.goes_on(SOON)
}

/// All paths run out when their packets end, whoever knew of them.
#[test]
fn paths_run_out_by_themselves() -> Result<()> {
    let node = Node::new()?;
    let (pulse, cli) = alone(&node)?;
    let count = || -> Result<u64> {
        let text = cli.cmd().args(["paths", "count", "--protocol", "udp"]).output_text()?;
        Ok(text.trim().parse()?)
    };
    ensure!(count()? == 2, "{} paths of one flow", count()?);
    drop(pulse);
    ensure!(becomes_true(REVALIDATE + MARGIN, || Ok(count()? == 0))?, "{} paths are left", count()?);
    Ok(())
}
