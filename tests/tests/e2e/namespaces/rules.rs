//! Rules in the router's namespace that have to see every packet.

use std::thread;

use anyhow::{Result, ensure};
use lab::{Node, wait_until};

use super::{MENDED, SOON, is_repeated, repeated, start};
use crate::e2e::offload::pulse::Pulse;

/// Far more than there are.
const LIMIT: &str = "table ip guard { chain forward { type filter hook forward priority 0; \
                     udp dport 9 limit rate over 100000/second drop; }; }";

#[test]
fn a_limit_in_the_router_sees_every_packet() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node)?;
    let pulse = Pulse::start(&node)?;
    is_repeated(&natbpf, ["tap0", "eth0"])?;
    node.router.cmd("nft").arg(LIMIT).run()?;
    wait_until("status names it", 5 * SOON, || Ok(natbpf.status()?.contains("router: ip guard forward")))?;
    thread::sleep(SOON);
    let before = repeated(&natbpf)?;
    pulse.goes_on(SOON)?;
    ensure!(repeated(&natbpf)? == before, "packets are repeated\n{}", natbpf.log());
    node.router.cmd("nft").args(["delete", "table", "ip", "guard"]).run()?;
    is_repeated(&natbpf, ["tap0", "eth0"])?;
    pulse.goes_on(MENDED)
}
