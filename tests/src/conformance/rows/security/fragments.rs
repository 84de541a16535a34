//! Fragments that make no datagram.

use std::net::UdpSocket;

use crate::conformance::prelude::*;

const CLIENT: End = (SILENT_IN1, 5000);
const SERVER: End = (OUT1, 9);

/// A datagram of 64 bytes behind its IPv4 header, cut by hand.
struct Datagram {
    id: u16,
    /// UDP header and payload.
    body: Vec<u8>,
}

impl Datagram {
    fn new(from: End, to: End, id: u16) -> Self {
        let payload: Vec<u8> = (0..56).collect();
        Self { id, body: Packet::udp(from, to).payload(payload).ip_bytes()[20..].to_vec() }
    }

    /// Its bytes `from..to` as a fragment; `from` is a multiple of 8.
    fn part(&self, from: usize, to: usize) -> Packet {
        self.part_at(from / 8, &self.body[from..to], to < self.body.len())
    }

    /// `offset` in units of 8 bytes.
    fn part_at(&self, offset: usize, bytes: &[u8], more: bool) -> Packet {
        let packet = Packet::other(17, CLIENT.0, SERVER.0).payload(bytes).id(self.id);
        packet.fragment(offset.try_into().unwrap_or(0x1fff), more)
    }
}

/// A server in which datagrams arrive that were sent in fragments.
struct Receiver(UdpSocket);

impl Receiver {
    fn start(bed: &Bed) -> Result<Self> {
        let socket = bed.out1.udp(SERVER)?;
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
        Ok(Self(socket))
    }

    /// Who sent the next one, and its length.
    fn next(&self) -> Option<(std::net::SocketAddr, usize)> {
        self.0.recv_from(&mut [0; 2000]).ok().map(|(length, from)| (from, length))
    }
}

/// A datagram in two fragments gets through, or nothing is shown by those that do not.
fn sound_fragments_pass(inside: &Wire, receiver: &Receiver) -> Result<Option<String>> {
    let whole = Datagram::new(CLIENT, SERVER, 1);
    inside.send(&whole.part(0, 32))?;
    inside.send(&whole.part(32, 64))?;
    let seen = receiver.next();
    Ok(seen.is_none().then(|| "a datagram in two sound fragments does not get through".to_owned()))
}

/// Everything that has left for the server since the last look.
fn left(uplink: &Wire) -> Result<Vec<Seen>> {
    let mut all = uplink.drain()?;
    all.retain(|seen| seen.outgoing && seen.dst() == OUT1);
    Ok(all)
}

pub fn tiny_first_fragments_are_dropped(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let (inside, receiver) = (bed.in1.wire()?, Receiver::start(bed)?);
    if let Some(why) = sound_fragments_pass(&inside, &receiver)? {
        return Ok(Fails(why));
    }
    let uplink = bed.uplink()?;
    for (id, length) in [(10, 0), (11, 4), (12, 7)] {
        let datagram = Datagram::new(CLIENT, SERVER, id);
        inside.send(&datagram.part_at(0, &datagram.body[..length], true))?;
        inside.send(&datagram.part(8, 64))?;
    }
    let left = left(&uplink)?;
    expect!(left.is_empty(), "of datagrams whose first fragment has less than 8 bytes {left:?} leaves");
    expect!(receiver.next().is_none(), "such a datagram is put together and delivered");
    Ok(Meets)
}

pub fn overlapping_fragments_do_not_leave(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let (inside, receiver) = (bed.in1.wire()?, Receiver::start(bed)?);
    if let Some(why) = sound_fragments_pass(&inside, &receiver)? {
        return Ok(Fails(why));
    }
    let uplink = bed.uplink()?;
    // The second reaches into the first or covers it, or (a teardrop) lies within it; then comes the rest, which by
    // itself would be sound.
    for (id, (from, to)) in [(20, (16, 40)), (21, (0, 40)), (22, (8, 16))] {
        let datagram = Datagram::new(CLIENT, SERVER, id);
        inside.send(&datagram.part(0, 32))?;
        inside.send(&datagram.part(from, to))?;
        inside.send(&datagram.part(32, 64))?;
        let left = left(&uplink)?;
        let overlap = left
            .iter()
            .enumerate()
            .any(|(number, one)| left[..number].iter().any(|other| overlaps(one, other)));
        expect!(!overlap, "two that overlap leave: {left:?}");
        let rest = left.iter().any(|seen| seen.fragment_offset() + seen.body().len() >= 64);
        let delivered = receiver.next().is_some();
        if to <= 32 && (rest || delivered) {
            return Ok(Partly("one that lies within another is left out, and the rest passes".to_owned()));
        }
        expect!(!rest, "after two that overlap the rest of the datagram leaves: {left:?}");
        expect!(!delivered, "a datagram with an overlap is delivered");
    }
    Ok(Meets)
}

/// Two fragments of one datagram, or a fragment and the whole.
fn overlaps(one: &Seen, other: &Seen) -> bool {
    let end = |seen: &Seen| seen.fragment_offset() + seen.body().len();
    one.id() == other.id() && one.fragment_offset() < end(other) && other.fragment_offset() < end(one)
}

pub fn a_datagram_beyond_65535_bytes_is_dropped(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let (inside, receiver) = (bed.in1.wire()?, Receiver::start(bed)?);
    if let Some(why) = sound_fragments_pass(&inside, &receiver)? {
        return Ok(Fails(why));
    }
    let uplink = bed.uplink()?;
    for (id, more) in [(30, false), (31, true)] {
        let datagram = Datagram::new(CLIENT, SERVER, id);
        inside.send(&datagram.part(0, 32))?;
        inside.send(&datagram.part_at(8189, &[0; 104], more))?;
    }
    let last = left(&uplink)?.into_iter().find(|seen| seen.fragment_offset() > 0);
    expect!(last.is_none(), "leaves: {}", last.map_or(String::new(), |seen| seen.to_string()));

    // The same from outside, in a flow that the instance has begun.
    let arriving = bed.in1.wire()?;
    let outside = bed.out1.wire()?;
    for (id, at, length) in [(40, 4, 32), (41, 8189, 104)] {
        let answer = Datagram::new(SERVER, (GW, CLIENT.1), id);
        let part = |offset: usize, bytes: &[u8], more| {
            let packet = Packet::other(17, SERVER.0, GW).payload(bytes).id(id);
            packet.fragment(offset.try_into().unwrap_or(0x1fff), more)
        };
        outside.send(&part(0, &answer.body[..32], true))?;
        let bytes = [answer.body[32..].to_vec(), vec![0; 200]].concat();
        outside.send(&part(at, &bytes[..length], false))?;
    }
    let arrived = arriving.drain()?;
    let sound = arrived
        .iter()
        .any(|seen| seen.dst() == SILENT_IN1 && (seen.fragment_offset() == 32 || seen.payload().len() == 56));
    expect!(sound, "an answer in two sound fragments does not arrive");
    let last = arrived.iter().find(|seen| seen.fragment_offset() > 1000);
    expect!(last.is_none(), "arrives: {}", last.map_or(String::new(), ToString::to_string));
    Ok(Meets)
}

pub fn orphans_do_not_leave_untranslated(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let (inside, uplink) = (bed.in1.wire()?, bed.uplink()?);
    for protocol in [1, 6, 17, 47, 50] {
        for (number, offset) in [1, 3, 185, 8000].into_iter().enumerate() {
            let orphan = Packet::other(protocol, SILENT_IN1, OUT1).payload([7; 48]);
            let id = u16::from(protocol) * 8 + number as u16;
            inside.send(&orphan.clone().id(id).fragment(offset, false))?;
            inside.send(&orphan.id(id + 1000).fragment(offset, true))?;
        }
    }
    inside.send(&Packet::udp(CLIENT, (SILENT_OUT1, 9)).payload(b"the last one"))?;
    let seen = uplink.drain()?;
    ensure!(
        seen.iter().any(|seen| seen.payload() == b"the last one"),
        "an ordinary packet does not get through"
    );
    let left = seen.iter().find(|seen| seen.outgoing && seen.src() == SILENT_IN1);
    expect!(left.is_none(), "leaves: {}", left.map_or(String::new(), ToString::to_string));
    Ok(Meets)
}

/// Every combination of the three flags with an offset that makes a fragment, and lengths that do not fit them.
pub fn contradictory_flags_are_handled(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let (inside, uplink) = (bed.in1.wire()?, bed.uplink()?);
    let mut sent = 0_u16;
    for flags in 0..8_u16 {
        for offset in [0, 1, 4, 0x1fff] {
            if offset == 0 && flags & 1 == 0 {
                // Not a fragment.
                continue;
            }
            for length in [8, 13, 32] {
                for protocol in [1, 6, 17, 47] {
                    let odd = Packet::other(protocol, SILENT_IN1, SILENT_OUT1).payload(vec![7; length]);
                    sent += 1;
                    let mut bytes = odd.id(sent).ip_bytes();
                    bytes[6..8].copy_from_slice(&(flags << 13 | offset).to_be_bytes());
                    bytes[10..12].fill(0);
                    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&bytes[..20]);
                    bytes[10..12].copy_from_slice(&sum.ones_complement().to_ne_bytes());
                    inside.send_ip(&bytes)?;
                }
            }
        }
    }
    // Datagrams still pass, whole and in parts that may not be cut again.
    let receiver = Receiver::start(bed)?;
    inside.send(&Datagram::new(CLIENT, SERVER, 50_000).part(0, 64))?;
    ensure!(receiver.next().is_some(), "an ordinary datagram does not get through any more");
    let parts = Datagram::new(CLIENT, SERVER, 50_001);
    inside.send(&parts.part(0, 32).df())?;
    inside.send(&parts.part(32, 64).df())?;
    let both = receiver.next().is_some();
    let left = uplink.drain()?.into_iter().filter(|seen| seen.outgoing && seen.src() == SILENT_IN1);
    let left: Vec<_> = left.take(3).collect();
    expect!(left.is_empty(), "with contradictory flags leave with their inside source: {left:?}, …");
    expect!(both, "a datagram whose fragments may not be cut again does not get through");
    Ok(Meets)
}
