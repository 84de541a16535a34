//! Bulk data with offloads: the stack hands the uplink packets of 64 KB whose checksums are not there yet.

use crate::conformance::prelude::*;
use crate::ends::http::Server;
use crate::ends::tools::{download, upload};
use crate::netns::counters::csum_errors;

/// Segments are cut and summed on their last link, as a network card does it, and so the receiver looks at
/// the sums.
pub fn segments_are_right(bed: &Bed) -> Result<Outcome> {
    const BYTES: u64 = 10_000_000;
    for (namespace, device) in [(&bed.gw, "port1"), (&bed.seg, "out1")] {
        namespace.cmd("ethtool").args(["-K", device, "tx", "off", "tso", "off", "gso", "off"]).run()?;
    }
    let _nat = bed.translate(&Setup::default())?;
    let uplink = bed.uplink()?;
    let wires = [bed.in1.wire()?, bed.out1.wire()?];
    let server = Server::start(&bed.out1, (OUT1, 80))?;
    download(&bed.in1, &server.url(&format!("/bytes/{BYTES}"))?, &[])?;
    upload(&bed.in1, &server.url("/")?, BYTES)?;
    expect!(server.peers().iter().all(|peer| peer.ip() == GW), "the server sees {:?}", server.peers());

    let large = uplink.drain()?.iter().filter(|seen| seen.outgoing && seen.bytes().len() > 1500).count();
    ensure!(large > 100, "only {large} packets left the gateway uncut: offloads are not on");
    for (host, wire) in [&bed.in1, &bed.out1].into_iter().zip(wires) {
        let longest = wire.drain()?.iter().filter(|seen| !seen.outgoing).map(|seen| seen.bytes().len()).max();
        expect!(
            longest.is_some_and(|length| length <= 1500),
            "packets of {longest:?} bytes arrive, with an MTU of 1500"
        );
        let wrong = csum_errors(host)?;
        expect!(wrong == 0, "{wrong} packets arrive with a wrong checksum");
    }
    Ok(Meets)
}
