//! The time to live at the receiver is what the kernel alone makes it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use lab::ends::reflector::Reflector;
use lab::ends::tools::ping;
use lab::{Capture, Node};

use super::{FAMILIES, Family, NEVER, ask, repeated, start};

const QUESTIONS: usize = 50;

/// Times to live of questions at the outside, and of answers at vm1.
type Times = [BTreeSet<u8>; 2];

fn times(node: &Node, family: Family) -> Result<Times> {
    let server = Reflector::start(&node.out, (family.server, 9000))?;
    let client = node.vm1.udp((family.vm1, 5000))?;
    let capture = |end| Capture::with(end, "eth0", "udp port 9000", &["-v", "-Q", "in"]);
    let captures = [capture(&node.out)?, capture(&node.vm1)?];
    for question in 0..QUESTIONS {
        server.ask(&client, &format!("question {question}"))?;
    }
    let [outside, instance] = captures.map(|capture| times_in(&capture.stop()?));
    Ok([outside?, instance?])
}

/// `IP (tos 0x0, ttl 63, id …`, `IP6 (flowlabel …, hlim 63, next-header …`
fn times_in(lines: &[String]) -> Result<BTreeSet<u8>> {
    let time = |line: &String| {
        let (_, rest) = line.split_once(" ttl ").or_else(|| line.split_once(" hlim "))?;
        rest.split(',').next()?.parse().ok()
    };
    let all: Vec<u8> = lines.iter().filter_map(time).collect();
    ensure!(all.len() == QUESTIONS, "{} packets were seen: {lines:?}", all.len());
    Ok(all.into_iter().collect())
}

#[test]
fn the_time_to_live_is_the_kernels() -> Result<()> {
    let node = Node::new()?;
    let kernels = FAMILIES.map(|family| times(&node, family));
    let natbpf = start(&node, &[])?;
    for (family, kernels) in FAMILIES.into_iter().zip(kernels) {
        let kernels = kernels.context("without natbpf")?;
        ensure!(kernels.iter().all(|times| *times == BTreeSet::from([63])), "one router, but {kernels:?}");
        let before = repeated(&natbpf)?;
        let times = times(&node, family)?;
        let repeated = repeated(&natbpf)? - before;
        ensure!(repeated > 80, "of 100 packets {repeated} were repeated\n{}", natbpf.log());
        ensure!(times == kernels, "{times:?}, and {kernels:?} by the kernel");
    }
    Ok(())
}

/// A packet of a flow that is repeated, whose time is over at the router, is answered by the router.
#[test]
fn a_time_that_is_over_is_the_routers_to_answer() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node, &["--revalidate", NEVER])?;
    for family in FAMILIES {
        ask(&natbpf, (&node.vm1, family.vm1), (&node.out, family.server), 50)?;
        let ping = |options: &str| ping(&node.vm1, family.server, options);
        // One flow, by its identifier.
        ensure!(ping("-e 77 -c 20 -i 0.01")?.received == 20);
        let before = repeated(&natbpf)?;
        let late = ping("-e 77 -c 5 -i 0.01 -t 1")?;
        ensure!(late.received == 0, "{late:?}");
        ensure!(repeated(&natbpf)? == before, "what ends at the router is repeated");
        let output = node.vm1.cmd("ping").args(["-n", "-e", "77", "-c", "1", "-W", "1", "-t", "1"]);
        let output = output.arg(family.server.to_string()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(text.contains("Time to live exceeded") || text.contains("Hop limit"), "{text}");
        ensure!(ping("-e 77 -c 5 -i 0.01 -t 2")?.received == 5, "two routers are none");
    }
    Ok(())
}
