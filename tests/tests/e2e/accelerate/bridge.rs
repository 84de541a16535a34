//! Two instances on one bridge: nothing changes on the way but the device.

use anyhow::{Result, ensure};
use lab::Node;
use lab::ends::http::Server;
use lab::ends::reflector::Reflector;
use lab::ends::tools::{download, ping, upload};

use super::{FAMILIES, ethtool, nearly_all, no_errors, paths, repeated, share, start_between};

#[test]
fn two_instances_on_one_bridge() -> Result<()> {
    let node = Node::new()?;
    ethtool(&node.host, &["tap0", "tap1"], "tx off")?;
    let natbpf = start_between(&node, &["tap0", "tap1", "eth0"])?;
    let ends = [&node.vm1, &node.vm2];
    for family in FAMILIES {
        let replies = ping(&node.vm1, family.vm2, "-c 50 -i 0.01")?;
        ensure!(replies.received == 50, "{replies:?}");

        let server = Server::start(&node.vm2, (family.vm2, 80))?;
        let moves = || {
            let moved = download(&node.vm1, &server.url("/bytes/30000000")?, &[])?;
            ensure!(moved.bytes == 30_000_000, "{moved:?}");
            upload(&node.vm1, &server.url("/")?, 30_000_000).map(drop)
        };
        nearly_all(share(&natbpf, &ends, moves)?, &natbpf)?;

        let server = Reflector::start(&node.vm2, (family.vm2, 9000))?;
        let client = node.vm1.udp((family.vm1, 5000))?;
        let before = repeated(&natbpf)?;
        for question in 0..500 {
            let seen = server.ask(&client, &format!("question {question}"))?;
            ensure!(seen == (family.vm1, 5000).into(), "it came from {seen}");
        }
        let repeated = repeated(&natbpf)? - before;
        ensure!(repeated > 950, "of 1000 packets {repeated} were repeated\n{}", natbpf.log());
        let found = paths(&natbpf, &["--protocol", "udp", "--dport", "9000"])?;
        let found = found.iter().find(|path| path["comes"]["source"] == family.vm1.to_string());
        ensure!(
            found.is_some_and(|path| {
                path["hops"] == 0 && path["comes"]["edge"] == "tap0" && path["leaves"]["edge"] == "tap1"
            }),
            "{found:?}"
        );
    }
    no_errors(&node)
}
