//! What a bridge floods leaves by several edges, and is repeated by none.

use anyhow::{Result, ensure};
use lab::netns::counters;
use lab::{Node, becomes_true};

use super::{FAMILIES, NEVER, SOON, ask, is_repeated, paths, start_between};
use crate::e2e::offload::pulse::Pulse;

const QUESTIONS: u64 = 100;

#[test]
fn a_bridge_that_has_to_flood() -> Result<()> {
    let node = Node::new()?;
    // Nobody knows where vm1 is: what is for it goes to all ports.
    node.host
        .ip("link set tap0 type bridge_slave learning off\nlink set tap0 type bridge_slave fdb_flush")?;
    let natbpf = start_between(&node, &["tap0", "tap1", "eth0", "--revalidate", NEVER])?;
    for family in FAMILIES {
        let before = [counters::sent(&node.host, "tap1")?, natbpf.counter("crossings_manifold")?];
        ask(&natbpf, (&node.vm1, family.vm1), (&node.out, family.server), QUESTIONS)?;
        let after = [counters::sent(&node.host, "tap1")?, natbpf.counter("crossings_manifold")?];
        ensure!(
            after[0] >= before[0] + QUESTIONS,
            "tap1 was given less than all answers: {before:?}, {after:?}"
        );
        ensure!(after[1] > before[1], "nobody has said so: {before:?}, {after:?}");
        let found = paths(&natbpf, &["--protocol", "udp", "--sport", "9000"])?;
        let answers = found.iter().filter(|path| path["comes"]["edge"] == "eth0");
        ensure!(answers.count() == 0, "what is flooded is repeated: {found:?}");
    }
    // It learns, and floods no more.
    node.host.ip("link set tap0 type bridge_slave learning on")?;
    let _pulse = Pulse::start(&node)?;
    is_repeated(&natbpf)?;
    let quiet = || {
        let before = counters::sent(&node.host, "tap1")?;
        std::thread::sleep(SOON / 2);
        Ok(counters::sent(&node.host, "tap1")? < before + 10)
    };
    ensure!(becomes_true(3 * SOON, quiet)?, "tap1 is still given what is not for it");
    Ok(())
}
