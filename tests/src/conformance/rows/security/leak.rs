//! Nothing leaves with an inside source.

use proptest::prelude::{Strategy, any};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::conformance::prelude::*;

const PACKETS: usize = 600;

pub fn no_odd_packet_leaves_with_an_inside_source(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let (inside, uplink) = (bed.in1.wire()?, bed.uplink()?);
    // The same packets at every run.
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[42; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    for _ in 0..PACKETS {
        let packet = odd_packet().new_tree(&mut runner).map_err(|why| anyhow::anyhow!("{why}"))?.current();
        inside.send_ip(&packet)?;
    }
    inside.send(&Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, 9)).payload(b"the last one"))?;

    let passed = uplink.drain()?;
    let last = passed.iter().any(|seen| seen.payload() == b"the last one" && seen.src() == GW);
    ensure!(last, "an ordinary packet does not get through, so nothing is proved");
    let is_inside = |seen: &&Seen| seen.outgoing && seen.src().octets()[0] == 10;
    let leaks = passed.iter().filter(is_inside).collect::<Vec<_>>();
    let first = leaks.iter().take(3).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    expect!(
        leaks.is_empty(),
        "{} of {PACKETS} odd packets leave with their inside source: {first}, …",
        leaks.len()
    );
    Ok(Meets)
}

/// A valid IPv4 header with anything behind it: protocol, fragment field, flags, lengths.
fn odd_packet() -> impl Strategy<Value = Vec<u8>> {
    let protocol = proptest::prop_oneof![
        proptest::sample::select(vec![1_u8, 6, 17, 33, 47, 50, 132, 136]),
        any::<u8>(),
    ];
    let fragment = proptest::prop_oneof![4 => proptest::strategy::Just(0_u16), 1 => any::<u16>()];
    let body = proptest::collection::vec(any::<u8>(), 0..64);
    (protocol, fragment, any::<bool>(), 0..3_usize, body).prop_map(
        |(protocol, fragment, to_far, sum, body)| {
            let destination = if to_far { FAR } else { SILENT_OUT1 };
            let mut packet = Packet::other(protocol, SILENT_IN1, destination).payload(body);
            packet.ip.fragment_offset = (fragment & 0x1fff).try_into().expect("13 bits");
            packet.ip.more_fragments = fragment & 0x2000 != 0;
            let mut bytes = packet.ip_bytes();
            // Sometimes a body that looks like TCP, so that more than its ports is odd.
            if sum == 0 && bytes.len() >= 40 {
                bytes[32] = 0x50;
            }
            bytes
        },
    )
}
