//! What is longer than a device on the way permits is the kernel's to refuse.

use std::net::IpAddr;
use std::thread;

use anyhow::{Result, ensure};
use lab::ends::reflector::Reflector;
use lab::ends::tools::ping;
use lab::{Node, SERVER, becomes_true};

use super::{FAMILIES, NEVER, SOON, repeated, start};

/// The router says what fits through its way out.
#[test]
fn a_packet_too_long_for_the_router_is_answered_by_it() -> Result<()> {
    let node = Node::new()?;
    node.router.ip("link set qg mtu 1400")?;
    let natbpf = start(&node, &["--revalidate", NEVER])?;
    for family in FAMILIES {
        let server = Reflector::start(&node.out, (family.server, 9000))?;
        let client = node.vm1.udp((family.vm1, 5000))?;
        let before = repeated(&natbpf)?;
        for question in 0..50 {
            server.ask(&client, &format!("question {question}"))?;
        }
        ensure!(repeated(&natbpf)? > before + 80, "nothing is repeated\n{}", natbpf.log());
        let headers = if family.server.is_ipv4() { 28 } else { 48 };
        // Fits, and does not; of the flow that is repeated. What answers is longer, so nobody does.
        let (address, before) = (server.address(), server.received());
        client.send_to(&vec![b'x'; 1400 - headers], address)?;
        ensure!(becomes_true(SOON, || Ok(server.received() == before + 1))?, "1400 bytes fit");
        client.send_to(&vec![b'x'; 1401 - headers], address)?;
        thread::sleep(SOON / 4);
        ensure!(server.received() == before + 1, "1401 bytes do not fit");
        // ICMP has told the instance of it.
        let output = node.vm1.cmd("ip").args(["route", "get", &family.server.to_string()]).output_text()?;
        ensure!(output.contains("mtu 1400"), "nobody has said so to {}: {output}", family.vm1);
    }
    let replies = ping(&node.vm1, IpAddr::V4(SERVER), "-c 10 -s 1000")?;
    ensure!(replies.received == 10, "{replies:?}");
    Ok(())
}
