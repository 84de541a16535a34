//! No packet disappears unaccounted for.

use std::collections::BTreeMap;

use proptest::prelude::{Strategy, any};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::conformance::prelude::*;

const PACKETS: usize = 2000;

/// Packets of 10.0.0.0/24 that the gateway handed to the uplink's device, and packets that came in by it and got as
/// far as the stack: by counters of iptables, on the stack's side of the hooks.
fn beyond_the_hooks(bed: &Bed) -> Result<(u64, u64)> {
    let text = bed.gw.cmd("iptables").args(["-t", "mangle", "-nvxL"]).output_text()?;
    let count = |comment: &str| -> Result<u64> {
        let line = text.lines().find(|line| line.contains(comment)).context("a rule that counts")?;
        Ok(line.split_whitespace().next().context("its packets")?.parse()?)
    };
    Ok((count("handed-out")?, count("came-in")?))
}

/// The counters of drops that have counted.
fn drops(nat: &Translation<'_>) -> Result<BTreeMap<String, u64>> {
    let Translation::Natbpf(daemon) = nat else { bail!("this is not natbpf") };
    let status = daemon.status_json()?;
    let drops = status["counters"]["drops"].as_object().context("drops")?;
    let counted = drops.iter().filter_map(|(name, number)| Some((name.clone(), number.as_u64()?)));
    Ok(counted.filter(|(_, number)| *number > 0).collect())
}

/// Packets that were sent straight from their port to the uplink, and straight to their port.
fn repeated(nat: &Translation<'_>) -> Result<[u64; 2]> {
    let Translation::Natbpf(daemon) = nat else { bail!("this is not natbpf") };
    Ok([daemon.counter("egress_offloaded")?, daemon.counter("ingress_offloaded")?])
}

pub fn what_goes_in_comes_out_or_is_counted(bed: &Bed) -> Result<Outcome> {
    // The gateway's stack keeps quiet, so that all that leaves is what instances sent.
    bed.gw.cmd("iptables").args(["-P", "INPUT", "DROP"]).run()?;
    for rule in [
        "-A POSTROUTING -o wan -s 10.0.0.0/24 -m comment --comment handed-out",
        "-A PREROUTING -i wan -m comment --comment came-in",
    ] {
        bed.gw.cmd("iptables").args(["-t", "mangle"]).args(rule.split(' ')).run()?;
    }
    let nat = bed.translate(&Setup::default())?;
    let (inside, outside, uplink) = (bed.in1.wire()?, bed.out1.wire()?, bed.uplink()?);
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    for _ in 0..PACKETS {
        let packet = odd_packet().new_tree(&mut runner).map_err(|why| anyhow::anyhow!("{why}"))?.current();
        if packet.ip.source == SILENT_IN1.octets() { &inside } else { &outside }.send(&packet)?;
    }
    let passed = uplink.drain()?;
    let (handed_out, came_in) = beyond_the_hooks(bed)?;
    let left = passed.iter().filter(|seen| seen.outgoing).count() as u64;
    let arrived = passed.iter().filter(|seen| !seen.outgoing).count() as u64;
    let reasons = drops(&nat)?;
    let dropped: u64 = reasons.values().sum();
    ensure!(
        handed_out > 500 && came_in > 100 && dropped > 100,
        "{handed_out} {came_in} {dropped}: too few to prove it"
    );
    // What is repeated goes past the stack.
    let [repeated_out, repeated_in] = repeated(&nat)?;
    let (before, after) = (handed_out + repeated_out + arrived, left + came_in + repeated_in + dropped);
    expect!(
        before == after,
        "{before} packets went in; {left} left, {came_in} came in, {repeated_in} were repeated, {dropped} were counted as dropped: \
         {reasons:?}"
    );
    Ok(Meets)
}

/// A packet of any protocol, with anything behind the IPv4 header; from inside, or from outside to the gateway. No
/// fragments: some of them are kept until another one comes.
fn odd_packet() -> impl Strategy<Value = Packet> {
    let protocol = proptest::prop_oneof![
        4 => proptest::sample::select(vec![1_u8, 6, 17]),
        1 => proptest::sample::select(vec![33_u8, 47, 50, 132, 136]),
        1 => any::<u8>(),
    ];
    let body = proptest::collection::vec(any::<u8>(), 0..64);
    (protocol, 0..3_usize, any::<u16>(), any::<bool>(), body).prop_map(
        |(protocol, from, ports, known, mut body)| {
            // Ports that come again in the other direction, so that some packets belong to flows.
            if known && body.len() >= 4 {
                let port = (5000 + ports % 64).to_be_bytes();
                body[..2].copy_from_slice(&port);
                body[2..4].copy_from_slice(&port);
            }
            let (source, destination) = if from < 2 { (SILENT_IN1, SILENT_OUT1) } else { (SILENT_OUT1, GW) };
            Packet::other(protocol, source, destination).payload(body)
        },
    )
}
