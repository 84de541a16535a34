//! Repeating at XDP hooks, on veth pairs whose ends sum their packets themselves.

use anyhow::{Result, ensure};
use lab::{Natbpf, Node};

use super::{ethtool, start_between, traffic::everything};

/// Bytes of a transfer, in packets of 1500 bytes.
const BYTES: u64 = 20_000_000;

/// natbpf between these edges. XDP of veth sees packets before their checksums are complete, and a redirect to it needs
/// GRO at the far end.
pub fn start(node: &Node, arguments: &[&str]) -> Result<Natbpf> {
    for end in [&node.vm1, &node.vm2, &node.out] {
        ethtool(end, &["eth0"], "tx off gro on")?;
    }
    let natbpf = start_between(node, &[arguments, &["--hook", "xdp"]].concat())?;
    let status = natbpf.cli().status_json()?;
    let hooks = status["hooks"].as_array().cloned().unwrap_or_default();
    let all = hooks.iter().all(|hook| hook["hook"] == "xdp" && hook["takes_frames"] == true);
    ensure!(all && hooks.len() > 1, "{}{}", natbpf.status()?, natbpf.log());
    Ok(natbpf)
}

/// Frames that XDP has sent elsewhere from this edge, as its device has counted.
pub fn redirected(node: &Node, edge: &str) -> Result<u64> {
    let counters = node.host.cmd("ethtool").args(["-S", edge]).output_text()?;
    let lines = counters.lines().filter_map(|line| line.trim().split_once(": "));
    let of_queues =
        lines.filter(|(name, _)| name.starts_with("rx_queue_") && name.ends_with("_xdp_redirect"));
    Ok(of_queues.map(|(_, number)| number.parse::<u64>()).sum::<Result<u64, _>>()?)
}

#[test]
fn all_traffic_is_right_and_repeated_at_xdp() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node, &["tap0", "eth0"])?;
    let both = || -> Result<[u64; 2]> { Ok([redirected(&node, "tap0")?, redirected(&node, "eth0")?]) };
    let (before, repeated) = (both()?, super::repeated(&natbpf)?);
    everything(&node, &natbpf, BYTES)?;
    let (after, repeated) = (both()?, super::repeated(&natbpf)? - repeated);
    let by_xdp = after[0] - before[0] + after[1] - before[1];
    // A path may be noted between a packet's two hooks.
    let nearly_all = by_xdp <= repeated && by_xdp * 100 > repeated * 99;
    ensure!(nearly_all, "{by_xdp} of {repeated} repeated packets went by XDP");
    Ok(())
}
