//! The IPv4 header: hops, checksum, lengths, class, options, identification.

use crate::conformance::prelude::*;
use crate::netns::counters::nstat;

const CLIENT: End = (SILENT_IN1, 5000);
const SERVER: End = (SILENT_OUT1, 9);

/// A packet from inside and the answer to it, both as `change` makes them, at the other side.
fn there_and_back(passage: &Passage, change: impl Fn(Packet) -> Packet) -> Result<Option<(Seen, Seen)>> {
    let question = Packet::udp(CLIENT, SERVER).payload(b"there");
    let Some(there) = passage.outward(&[change(question.clone()).ip_bytes()])?.pop() else { return Ok(None) };
    let answer = question.answer(there.source()).payload(b"back");
    let back = passage.inward(&[change(answer).ip_bytes()])?.pop();
    Ok(back.map(|back| (there, back)))
}

pub fn one_hop_less(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let Some((there, back)) = there_and_back(&passage, |packet| packet.ttl(64))? else {
        bail!("an ordinary packet and its answer do not get through");
    };
    for (way, seen) in [("outward", there), ("inward", back)] {
        expect!(seen.ttl() == 63, "{way} a TTL of 64 becomes {}", seen.ttl());
        expect!(seen.sums_are_right(), "{way} a checksum is wrong");
    }
    Ok(Meets)
}

pub fn the_last_hop_leaves_no_flow(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let left = passage.outward(&[Packet::udp(CLIENT, SERVER).ttl(1).ip_bytes()])?;
    expect!(left.is_empty(), "a packet with a TTL of 1 leaves: {left:?}");
    let told = passage.arrived()?.iter().filter_map(Seen::icmp).collect::<Vec<_>>();
    expect!(told == [(11, 0)], "its sender hears ICMP {told:?}");
    expect!(nat.flow_from("udp", CLIENT)?.is_none(), "there is a flow for it");
    Ok(Meets)
}

pub fn no_hop_is_no_packet(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let question = Packet::udp(CLIENT, SERVER);
    let external = passage.leaves(&question)?.source();
    let left = passage.outward(&[question.clone().ttl(0).ip_bytes()])?;
    expect!(left.is_empty(), "a packet with a TTL of 0 leaves as {left:?}");
    let arrived = passage.inward(&[question.answer(external).ttl(0).ip_bytes()])?;
    let told = arrived.iter().filter(|seen| !seen.is_icmp_error()).collect::<Vec<_>>();
    expect!(told.is_empty(), "a packet with a TTL of 0 arrives inside as {told:?}");
    Ok(Meets)
}

pub fn what_is_no_header_goes_nowhere(bed: &Bed) -> Result<Outcome> {
    let nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let question = Packet::udp(CLIENT, SERVER);
    let external = passage.leaves(&question)?.source();
    let fresh = Packet::udp((SILENT_IN1, 5100), SERVER);

    let refused = || -> Result<u64> {
        let counters = nstat(&bed.gw)?;
        let names = ["IpInHdrErrors", "IpExtInTruncatedPkts"];
        Ok(names.iter().filter_map(|name| counters.get(*name)).sum())
    };
    let before = refused()?;
    let odd = spoiled(&fresh.ip_bytes());
    let left = passage.outward(&odd)?;
    expect!(left.is_empty(), "of {} packets with a wrong header there leaves {left:?}", odd.len());
    let counted = refused()? - before;
    expect!(counted == odd.len() as u64, "of {} packets the gateway refuses {counted}", odd.len());
    let arrived = passage.inward(&spoiled(&question.answer(external).ip_bytes()))?;
    expect!(arrived.is_empty(), "from outside there arrives {arrived:?}");
    expect!(nat.flow_from("udp", (SILENT_IN1, 5100))?.is_none(), "there is a flow for one of them");
    Ok(Meets)
}

/// The packet with one mistake each; the header's checksum is right where there is a header.
fn spoiled(packet: &[u8]) -> Vec<Vec<u8>> {
    let length = packet.len() as u16;
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = packet.to_vec();
        change(&mut bytes);
        if bytes.len() >= 20 {
            correct_sum(&mut bytes);
        }
        bytes
    };
    let total = |length: u16| move |bytes: &mut Vec<u8>| bytes[2..4].copy_from_slice(&length.to_be_bytes());
    vec![
        with(&|bytes| bytes[0] = 0x55),
        with(&|bytes| bytes[0] = 0x65),
        // A header that is too short, and one that is longer than the packet.
        with(&|bytes| bytes[0] = 0x44),
        with(&|bytes| bytes[0] = 0x4f),
        // A length that is less than the header, and one that is more than the frame.
        with(&total(19)),
        with(&total(length + 50)),
        with(&|bytes| bytes.truncate(12)),
    ]
}

fn correct_sum(bytes: &mut [u8]) {
    bytes[10..12].fill(0);
    let header = bytes.len().min(usize::from(bytes[0] & 0xf) * 4);
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&bytes[..header]).ones_complement();
    bytes[10..12].copy_from_slice(&sum.to_ne_bytes());
}

pub fn class_and_congestion_stay(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let marked = |mut packet: Packet| {
        packet.ip.dscp = 46.try_into().expect("6 bits");
        packet.ip.ecn = 1.try_into().expect("2 bits");
        packet
    };
    let Some((there, back)) = there_and_back(&passage, marked)? else {
        return Ok(Fails("a marked packet or its answer does not get through".into()));
    };
    for (way, seen) in [("outward", there), ("inward", back)] {
        expect!(seen.tos() == 0xb9, "{way} a TOS byte of 0xb9 becomes {:#04x}", seen.tos());
    }
    Ok(Meets)
}

pub fn atomic_packets_pass_as_they_are(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let Some((there, back)) = there_and_back(&passage, |packet| packet.df().id(0))? else {
        return Ok(Fails("an atomic packet or its answer does not get through".into()));
    };
    for (way, seen) in [("outward", there), ("inward", back)] {
        expect!(
            seen.df() && seen.id() == 0,
            "{way} it has DF {} and identification {}",
            seen.df(),
            seen.id()
        );
    }
    Ok(Meets)
}

pub fn options_pass_and_source_routes_do_not(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let Some((there, back)) = there_and_back(&passage, |packet| packet.options(1))? else {
        return Ok(Fails("a packet with options or its answer does not get through".into()));
    };
    for (way, seen) in [("outward", there), ("inward", back)] {
        expect!(seen.header().len() == 24, "{way} the header has {} bytes", seen.header().len());
        expect!(seen.sums_are_right(), "{way} a checksum is wrong");
    }

    let [a, b, c, d] = R2.octets();
    let options: [(&str, [u8; 8]); 4] = [
        ("strict source route", [137, 7, 4, a, b, c, d, 0]),
        ("loose source route", [131, 7, 4, a, b, c, d, 0]),
        ("record route", [7, 7, 4, 0, 0, 0, 0, 0]),
        ("timestamp", [68, 8, 5, 0, 0, 0, 0, 0]),
    ];
    for (number, (name, bytes)) in options.iter().enumerate() {
        let mut packet = Packet::udp(CLIENT, SERVER);
        packet.ip.options = bytes[..].try_into()?;
        let left = passage.outward(&[packet.ip_bytes()])?;
        let source_route = number < 2;
        expect!(!source_route || left.is_empty(), "a packet with a {name} leaves");
        let right = left.iter().all(|seen| seen.src() == GW && seen.sums_are_right());
        expect!(right, "a packet with the option {name} leaves as {left:?}");
    }
    Ok(Meets)
}

pub fn padding_is_no_payload(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let syn = Packet::tcp(CLIENT, SERVER, SYN).numbers(1000, 0).payload(b"");
    let external = passage.leaves(&syn)?.source();
    let sent = Packet::udp((SILENT_IN1, 5001), SERVER).payload(b"");
    let quoted = passage.leaves(&sent)?;

    let answer = syn.answer(external).payload(b"").flags(SYN | ACK).numbers(5000, 1001);
    let error = Packet::icmp_error(R2, GW, 3, 3, 0, &quoted.bytes()[..28]);
    let padded = |packet: &Packet| [packet.ip_bytes(), vec![0xa5; 30]].concat();
    let arrived = passage.inward(&[&answer, &error].map(padded))?;
    expect!(arrived.len() == 2, "of a segment and an error with padding there arrives {arrived:?}");
    for (seen, packet) in arrived.iter().zip([answer, error]) {
        let length = usize::from(u16::from_be_bytes([seen.bytes()[2], seen.bytes()[3]]));
        expect!(length == packet.ip_bytes().len(), "{seen} has {length} bytes");
        expect!(seen.sums_are_right(), "a checksum is wrong: {seen}");
    }
    let left =
        passage.outward(&[padded(&Packet::tcp(CLIENT, SERVER, ACK).numbers(1001, 5001).payload(b""))])?;
    expect!(
        left.len() == 1 && left[0].bytes().len() == 40 && left[0].sums_are_right(),
        "of a segment with padding there leaves {left:?}"
    );
    Ok(Meets)
}
