//! Tagged packets: a path is for those with its tag alone, and keeps it.

use std::cell::Cell;

use anyhow::{Result, ensure};
use lab::object::{CUSTOMER_TAG, Packet};
use lab::wire::Wire;
use lab::{Natbpf, Node, VM1, VM2, wait_until};

use super::{NEVER, SOON, paths, repeated, start_between, xdp};

const PACKETS: u16 = 100;
const TAGS: [u16; 2] = [10, 20];

#[test]
fn tagged_packets_between_two_instances() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start_between(&node, &["tap0", "tap1", "eth0", "--revalidate", NEVER])?;
    tagged_packets(&node, &natbpf)
}

/// There the tag is in the frame.
#[test]
fn tagged_packets_between_two_instances_at_xdp() -> Result<()> {
    let node = Node::new()?;
    let natbpf = xdp::start(&node, &["tap0", "tap1", "eth0", "--revalidate", NEVER])?;
    let before = xdp::redirected(&node, "tap0")?;
    tagged_packets(&node, &natbpf)?;
    let redirected = xdp::redirected(&node, "tap0")? - before;
    ensure!(redirected > 280, "of 300 packets {redirected} were redirected by XDP\n{}", natbpf.status()?);
    Ok(())
}

fn tagged_packets(node: &Node, natbpf: &Natbpf) -> Result<()> {
    let wire = Wire::between(&node.vm1, "eth0", (&node.vm2, "eth0"))?;
    let arriving = Wire::between(&node.vm2, "eth0", (&node.vm1, "eth0"))?;
    // The bridge knows both: what it floods leaves twice.
    arriving.send(&Packet::udp((VM2, 9000), (VM1, 5000)))?;
    wire.expect(|seen| seen.source() == (VM2, 9000))?;
    let packet = Packet::udp((VM1, 5000), (VM2, 9000)).payload(*b"with a tag");
    // By turns, one after the other: the same tuple in each VLAN, and in none.
    let round = |id: u16| -> Result<()> {
        for tag in TAGS {
            wire.send(&packet.clone().id(id).tags(&[(CUSTOMER_TAG.0, tag)]))?;
            arriving.expect(|seen| seen.source() == (VM1, 5000) && seen.id() == id)?;
        }
        wire.send(&packet.clone().id(id))?;
        arriving.expect(|seen| seen.source() == (VM1, 5000) && seen.id() == id).map(drop)
    };
    let before = repeated(natbpf)?;
    (1..=PACKETS).try_for_each(round)?;
    let repeated = repeated(natbpf)? - before;
    ensure!(repeated > 280, "of 300 packets {repeated} were repeated\n{}{}", natbpf.status()?, natbpf.log());
    let id = Cell::new(PACKETS);
    wait_until("each tag has its path, which something else may just have ended", SOON, || {
        for _ in 0..4 {
            id.set(id.get() + 1);
            round(id.get())?;
        }
        let found = paths(natbpf, &["--protocol", "udp", "--dport", "9000"])?;
        let found =
            found.iter().filter(|path| path["comes"]["edge"] == "tap0" && path["leaves"]["edge"] == "tap1");
        let mut tags: Vec<_> =
            found.map(|path| (path["comes"]["vlan"].as_u64(), path["leaves"]["vlan"].as_u64())).collect();
        tags.sort_unstable();
        Ok(tags == [None, Some(10), Some(20)].map(|tag| (tag, tag)))
    })
}
