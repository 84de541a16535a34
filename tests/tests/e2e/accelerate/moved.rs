//! An instance that goes on behind another edge.

use anyhow::{Context, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::netns::link::colons;
use lab::{GATEWAY_INSIDE, Natbpf, Node, SERVER, VM1, link_address, wait_until};

use super::{NEVER, SOON, repeated_from, start_between};

/// vm1 speaks, and goes on as what vm2 was: same addresses, same connection.
fn goes_on(node: &Node, natbpf: Natbpf, is_killed: bool) -> Result<()> {
    let server = Reflector::start(&node.out, (SERVER, 9000))?;
    let client = node.vm1.udp((VM1, 5000))?;
    let are_repeated = || {
        for question in 0..100 {
            server.ask(&client, &format!("question {question}"))?;
        }
        Ok(repeated_from(&natbpf, "eth0")? > 80)
    };
    wait_until("answers are repeated", 3 * SOON, are_repeated).with_context(|| natbpf.log())?;
    let address = link_address(&node.vm1, "eth0")?;
    let (cli, _daemon) =
        if is_killed { (natbpf.kill()?, None) } else { (natbpf.cli().clone(), Some(natbpf)) };
    node.vm1.ip("link set eth0 down")?;
    node.vm2.ip(&format!(
        "link set eth0 down\naddr flush dev eth0\nlink set eth0 address {}\naddr add {VM1}/24 dev eth0\n\
         link set eth0 up\nroute add default via {GATEWAY_INSIDE}",
        colons(address)
    ))?;
    let client = node.vm2.udp((VM1, 5000))?;
    client.set_read_timeout(Some(SOON / 10))?;
    let asked = || server.try_ask(&client, "where").map(|answer| answer.is_some());
    let mut missed = 0;
    while !asked()? {
        missed += 1;
        ensure!(missed < 10, "it hears nothing");
    }
    let before = cli.counter("packets_repeated")?;
    for question in 0..50 {
        server.ask(&client, &format!("again {question}"))?;
    }
    let repeated = cli.counter("packets_repeated")? - before;
    ensure!(repeated > 80, "of 100 packets {repeated} were repeated behind the new edge");
    Ok(())
}

#[test]
fn an_instance_that_moves() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start_between(&node, &["tap0", "tap1", "eth0", "--revalidate", NEVER])?;
    goes_on(&node, natbpf, false)
}

/// What it sends says where it is.
#[test]
fn an_instance_that_moves_while_nobody_follows() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start_between(&node, &["tap0", "tap1", "eth0", "--revalidate", NEVER])?;
    goes_on(&node, natbpf, true)
}
