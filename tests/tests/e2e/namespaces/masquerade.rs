//! The address that MASQUERADE has in the router's namespace changes.

use std::thread;

use anyhow::{Result, ensure};
use lab::{Capture, Node};

use super::{MENDED, SOON, is_repeated, start};
use crate::e2e::offload::pulse::Pulse;

#[test]
fn no_packet_has_the_old_address_after_a_second() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node)?;
    let pulse = Pulse::start(&node)?;
    is_repeated(&natbpf, ["tap0", "eth0"])?;
    node.router.ip("addr del 203.0.113.1/24 dev qg\naddr add 203.0.113.2/24 dev qg")?;
    thread::sleep(SOON);
    let capture = Capture::with(&node.out, "eth0", "udp dst port 9", &["-Q", "in"])?;
    pulse.goes_on(MENDED)?;
    is_repeated(&natbpf, ["tap0", "eth0"])?;
    thread::sleep(SOON);
    let packets = capture.stop()?;
    let with = |address: &str| packets.iter().filter(|line| line.starts_with(address)).count();
    let (new, all) = (with("IP 203.0.113.2."), packets.len());
    ensure!(new > 100 && new == all, "{new} of {all} packets have the new address\n{}", natbpf.log());
    Ok(())
}
