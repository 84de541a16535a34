//! Protocols without ports, and fragments.

use crate::conformance::prelude::*;
use crate::ends::tools::ping;

/// Protocols and what their packets begin with.
fn packets() -> Vec<(&'static str, u8, Vec<u8>)> {
    vec![
        ("IPIP", 4, Packet::udp((IN1, 5000), (OUT1, 9)).ip_bytes()),
        ("IPv6", 41, [&[0x60, 0, 0, 0, 0, 0, 59, 64][..], &[0; 32]].concat()),
        ("GRE", 47, [&[0, 0, 8, 0][..], b"in a tunnel"].concat()),
        ("ESP", 50, [&[0, 0, 0x12, 0x34, 0, 0, 0, 1][..], b"nobody can read it"].concat()),
        ("AH", 51, [&[59, 4, 0, 0, 0, 0, 0x12, 0x34, 0, 0, 0, 1][..], &[7; 12]].concat()),
        ("SCTP", 132, sctp_init()),
        ("an unassigned protocol", 253, b"an experiment".to_vec()),
    ]
}

/// An INIT from port 5000 to port 9 (RFC 9260, section 3.3.2).
fn sctp_init() -> Vec<u8> {
    let mut packet = vec![0x13, 0x88, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0];
    packet.extend([1, 0, 0, 20, 0, 0, 0x12, 0x34, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let sum = crc32c(&packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    packet
}

fn crc32c(bytes: &[u8]) -> u32 {
    let shift = |crc: u32, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), shift))
}

pub fn protocols_without_ports_do_not_leak(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    for (name, protocol, content) in packets() {
        let packet = Packet::other(protocol, SILENT_IN1, SILENT_OUT1).payload(content);
        let left = passage.outward(&[packet.ip_bytes()])?;
        let leak = left.iter().find(|seen| seen.src() != GW);
        expect!(leak.is_none(), "{name} leaves with its inside source");
        if let [seen] = &left[..] {
            expect!(seen.body() == packet.payload && seen.header_sum_is_right(), "{name} leaves changed");
            let answer = Packet::other(protocol, SILENT_OUT1, GW).payload(&packet.payload[..]);
            let arrived = passage.inward(&[answer.ip_bytes()])?;
            // SCTP is a state machine to netfilter, which such an answer is no part of.
            expect!(protocol == 132 || arrived.len() == 1, "{name} leaves, and the answer does not arrive");
        }
        // A second host to the same one: nobody can tell the answers apart.
        let second = Packet::other(protocol, SILENT_IN2, SILENT_OUT1).payload(packet.payload);
        passage.neighbour.send(&second)?;
        passage.inside.send(&Packet::udp((SILENT_IN1, 5001), (SILENT_OUT1, 9)))?;
        let leak = passage.left()?.into_iter().find(|seen| seen.src() != GW);
        expect!(leak.is_none(), "{name} of a second host leaves with its inside source");
    }
    Ok(Meets)
}

pub fn fragments_leave_with_the_external_source(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let uplink = bed.uplink()?;
    let result = ping(&bed.in1, OUT1, "-c 3 -s 4000")?;
    expect!(result.received == 3, "of 3 pings of 4000 bytes {} come back", result.received);

    let server = bed.out1.udp((OUT1, 9))?;
    let client = bed.in1.udp((IN1, 5000))?;
    let sent = (0..4000_u32).map(|number| number as u8).collect::<Vec<_>>();
    client.send_to(&sent, (OUT1, 9))?;
    let mut buffer = vec![0; 8000];
    let Ok((length, from)) = server.recv_from(&mut buffer) else {
        return Ok(Fails("a datagram of 4000 bytes does not arrive".into()));
    };
    expect!(end(from).0 == GW && buffer[..length] == sent, "of 4000 bytes {length} arrive, from {from}");
    server.send_to(&sent, from)?;
    let back = client.recv(&mut buffer);
    expect!(back.is_ok_and(|length| buffer[..length] == sent), "the answer of 4000 bytes does not arrive");

    let passed = uplink.drain()?;
    let fragments = passed.iter().filter(|seen| seen.outgoing && seen.dst() == OUT1).collect::<Vec<_>>();
    ensure!(fragments.len() >= 12, "of 4 packets of 3 fragments each there leave {}", fragments.len());
    let odd = fragments.iter().find(|seen| seen.src() != GW || !seen.header_sum_is_right());
    expect!(odd.is_none(), "a fragment leaves as {odd:?}");
    Ok(Meets)
}
