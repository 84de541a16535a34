//! Inside hosts that reach each other by their external endpoints.

use crate::conformance::behaviour::{Transport, crosses, leaves_as};
use crate::conformance::prelude::*;
use crate::conformance::stun::Stun;

const SERVER: End = (SILENT_OUT1, 9);

/// The two ends and their external endpoints.
struct Pair {
    wires: [Wire; 2],
    externals: [End; 2],
}

/// Both have asked somebody outside, from the ports 5000 and 6000.
fn pair(bed: &Bed) -> Result<Pair> {
    let uplink = bed.uplink()?;
    let wires = [bed.in1.wire()?, bed.in2.wire()?];
    let external = |wire, inside| -> Result<End> {
        let left = leaves_as(&uplink, wire, Transport::Udp, inside, SERVER)?;
        left.context("what an inside host sends does not leave")
    };
    let externals = [external(&wires[0], (SILENT_IN1, 5000))?, external(&wires[1], (SILENT_IN2, 6000))?];
    Ok(Pair { wires, externals })
}

pub fn a_datagram_comes_round_and_so_does_the_answer(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::rfc())?;
    let Pair { wires: [one, two], externals } = pair(bed)?;
    let request = Packet::udp((SILENT_IN1, 5000), externals[1]).payload("round the corner");
    let seen = crosses(&request, &one, &two)?;
    expect!(seen.is_some(), "a datagram to the external endpoint of another inside host does not reach it");
    let seen = seen.context("just looked at")?;
    expect!(seen.destination() == (SILENT_IN2, 6000) && seen.sums_are_right(), "it arrives as {seen}");

    let answer = Packet::udp((SILENT_IN2, 6000), seen.source()).payload("and back");
    let seen = crosses(&answer, &two, &one)?;
    expect!(seen.is_some(), "the answer to a hairpinned datagram does not come back");
    let seen = seen.context("just looked at")?;
    let expected = (externals[1], (SILENT_IN1, 5000));
    expect!((seen.source(), seen.destination()) == expected, "the answer arrives as {seen}");
    // A second opinion.
    let agreed = Stun::start(bed)?.finds("-H", "maybe a successful hairpinning")?;
    expect!(agreed, "coturn's discovery tool finds no hairpinning");
    Ok(Meets)
}

pub fn it_comes_from_the_external_endpoint(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::rfc())?;
    let Pair { wires: [one, two], externals } = pair(bed)?;
    let request = Packet::udp((SILENT_IN1, 5000), externals[1]).payload("whom do you see?");
    let seen = crosses(&request, &one, &two)?;
    expect!(seen.is_some(), "a datagram to the external endpoint of another inside host does not reach it");
    let source = seen.context("just looked at")?.source();
    expect!(source == externals[0], "the receiver sees {source:?}, the outside {:?}", externals[0]);
    // One that has no mapping yet gets one, which the outside then sees, too.
    let fresh = Packet::udp((SILENT_IN1, 5001), externals[1]).payload("and now?");
    let seen = crosses(&fresh, &one, &two)?.map(|seen| seen.source());
    let left = leaves_as(&bed.uplink()?, &one, Transport::Udp, (SILENT_IN1, 5001), SERVER)?;
    expect!(
        seen == left && seen.is_some_and(|(address, _)| address == GW),
        "without a mapping before, the receiver sees {seen:?}, the outside {left:?}"
    );
    Ok(Meets)
}
