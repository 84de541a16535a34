//! Ping, TCP and UDP, whole and nearly all repeated.

use anyhow::{Result, ensure};
use lab::ends::http::Server;
use lab::ends::tools::{download, ping, upload};
use lab::{Natbpf, Node};

use super::{FAMILIES, Family, ask, ethtool, nearly_all, no_errors, repeated, share, start};

/// Bytes of a transfer. With segmentation by devices a packet has up to 64 KiB.
const LONG: u64 = 200_000_000;
const SHORT: u64 = 60_000_000;

/// Of each transfer nearly all packets are repeated, and every byte is right.
fn transfers(node: &Node, natbpf: &Natbpf, family: Family, bytes: u64) -> Result<()> {
    let server = Server::start(&node.out, (family.server, 80))?;
    let ends = [&node.vm1, &node.out];
    let down = || {
        let moved = download(&node.vm1, &server.url(&format!("/bytes/{bytes}"))?, &[])?;
        ensure!(moved.bytes == bytes, "{moved:?}");
        Ok(())
    };
    nearly_all(share(natbpf, &ends, down)?, natbpf)?;
    let up = || upload(&node.vm1, &server.url("/")?, bytes).map(drop);
    nearly_all(share(natbpf, &ends, up)?, natbpf)
}

fn pings(node: &Node, natbpf: &Natbpf, family: Family) -> Result<()> {
    let before = repeated(natbpf)?;
    let replies = ping(&node.vm1, family.server, "-c 50 -i 0.01")?;
    ensure!(replies.received == 50, "{replies:?}");
    let repeated = repeated(natbpf)? - before;
    ensure!(repeated > 80, "of 100 packets {repeated} were repeated\n{}", natbpf.log());
    Ok(())
}

fn questions(node: &Node, natbpf: &Natbpf, family: Family) -> Result<()> {
    let repeated = ask(natbpf, (&node.vm1, family.vm1), (&node.out, family.server), 500)?;
    ensure!(repeated > 950, "of 1000 packets {repeated} were repeated\n{}", natbpf.log());
    Ok(())
}

/// Each in three fragments, which are the kernel's.
fn fragments(node: &Node, natbpf: &Natbpf, family: Family) -> Result<()> {
    let before = repeated(natbpf)?;
    let replies = ping(&node.vm1, family.server, "-c 20 -i 0.01 -s 4000")?;
    ensure!(replies.received == 20, "{replies:?}");
    ensure!(repeated(natbpf)? == before, "fragments are repeated");
    Ok(())
}

pub fn everything(node: &Node, natbpf: &Natbpf, bytes: u64) -> Result<()> {
    for family in FAMILIES {
        pings(node, natbpf, family)?;
        transfers(node, natbpf, family, bytes)?;
        questions(node, natbpf, family)?;
        fragments(node, natbpf, family)?;
    }
    no_errors(node)
}

#[test]
fn all_traffic_is_right_and_repeated() -> Result<()> {
    let node = Node::new()?;
    everything(&node, &start(&node, &[])?, LONG)
}

/// The ends leave checksums to their devices, and those of the edges cannot do them: they are completed behind natbpf,
/// so that the other end sees each mistake.
#[test]
fn all_traffic_is_right_with_checksums_completed_at_the_edges() -> Result<()> {
    let node = Node::new()?;
    ethtool(&node.host, &["tap0", "tap1", "eth0"], "tx off")?;
    everything(&node, &start(&node, &[])?, SHORT)
}

/// The ends sum and segment their packets themselves, and look at each checksum that comes.
#[test]
fn all_traffic_is_right_without_offloads_of_the_ends() -> Result<()> {
    let node = Node::new()?;
    for end in [&node.vm1, &node.out] {
        ethtool(end, &["eth0"], "tx off rx off sg off tso off gso off gro off")?;
    }
    everything(&node, &start(&node, &[])?, SHORT)
}
