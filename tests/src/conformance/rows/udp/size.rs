//! Packets that are too large for the uplink.

use crate::conformance::prelude::*;
use crate::ends::tools::ping;

const CLIENT: End = (SILENT_IN1, 5000);
const SERVER: End = (SILENT_OUT1, 9);
const MTU: u16 = 1300;

fn narrow(bed: &Bed) -> Result<()> {
    bed.gw.ip(&format!("link set wan mtu {MTU}"))
}

pub fn the_sender_hears_how_large_it_may_be(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    narrow(bed)?;
    let (inside, uplink) = (bed.in1.wire()?, bed.uplink()?);
    let small = Packet::udp(CLIENT, SERVER).df().payload(vec![b'x'; usize::from(MTU) - 28]);
    inside.send(&small)?;
    uplink.expect(|seen| seen.outgoing && seen.destination() == SERVER && seen.src() == GW)?;

    inside.send(&small.payload(vec![b'x'; 1400 - 28]))?;
    let error = inside.find_within(Duration::from_secs(1), |seen| seen.icmp() == Some((3, 4)))?;
    expect!(error.is_some(), "a datagram of 1400 bytes for an MTU of 1300 is dropped without a word");
    let error = error.context("just looked at")?;
    expect!(
        error.src() == GW_INSIDE && error.icmp_rest().1 == MTU,
        "{error}, with the MTU {:?}",
        error.icmp_rest()
    );
    let quoted = error.quote().map(|quote| (quote.source(), quote.destination()));
    expect!(
        quoted == Some((CLIENT, SERVER)),
        "the sender is told about a packet that it did not send: {error}"
    );
    let left = uplink.drain()?.into_iter().find(|seen| seen.outgoing && seen.dst() == SERVER.0);
    expect!(left.is_none(), "the datagram leaves all the same: {left:?}");
    Ok(Meets)
}

pub fn without_df_it_leaves_in_fragments(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    narrow(bed)?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    inside.send(&Packet::udp(CLIENT, SERVER).id(0x4321).payload(vec![b'x'; 1400 - 28]))?;
    let is_last = |seen: &Seen| seen.dst() == SERVER.0 && seen.fragment_offset() > 0;
    let mut pieces = Vec::new();
    while !pieces.iter().any(is_last) {
        let next = outside.find_within(Duration::from_secs(1), |seen| seen.dst() == SERVER.0)?;
        expect!(next.is_some(), "a datagram of 1400 bytes leaves as {pieces:?}, with an MTU of {MTU}");
        pieces.extend(next);
    }
    expect!(
        pieces.len() == 2 && pieces.iter().all(|piece| piece.src() == GW && piece.id() == pieces[0].id()),
        "the fragments of one datagram are {pieces:?}"
    );
    expect!(pieces[0].fragment_offset() == 0, "the second fragment leaves before the first: {pieces:?}");
    let whole = pieces.iter().map(|piece| piece.body().len()).sum::<usize>();
    expect!(whole == 1400 - 20, "the fragments have {whole} of {} bytes", 1400 - 20);

    // What is larger than the MTU does not get into the gateway, either.
    bed.out1.ip(&format!("link set eth0 mtu {MTU}"))?;
    // Two of them are fragments on their way to the gateway already, and so are the answer's.
    let answered = ping(&bed.in1, OUT1, "-c 1 -M dont -s 3000")?.received;
    expect!(answered == 1, "an echo request of 3000 bytes is not answered");
    Ok(Meets)
}
