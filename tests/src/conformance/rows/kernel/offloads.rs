//! Packets that stand for several, and packets whose bytes are not in one piece.

use std::os::fd::AsRawFd;

use crate::conformance::prelude::*;
use crate::ends::http::Server;
use crate::ends::tools::{download, upload};
use crate::netns::counters::csum_errors;

const BULK: u64 = 10_000_000;
/// Link layer header aside, the longest packet that an Ethernet device takes.
const MTU: usize = 1500;

pub fn packets_of_many_segments_are_translated_whole(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let server = Server::start(&bed.out1, (OUT1, 80))?;
    let uplink = bed.uplink()?;
    let up = upload(&bed.in1, &server.url("/")?, BULK)?.bytes;
    let down = download(&bed.in1, &server.url(&format!("/bytes/{BULK}"))?, &[])?.bytes;
    expect!((up, down) == (BULK, BULK), "{up} and {down} of {BULK} bytes come through");
    // 10 MB are so few packets that there is always room for them.
    let seen = uplink.drain()?;
    let long =
        |outgoing| seen.iter().filter(|seen| seen.outgoing == outgoing && seen.bytes().len() > MTU).count();
    ensure!(long(true) > 0 && long(false) > 0, "no packet is longer than one segment, so nothing is shown");
    let untranslated = seen.iter().filter(|seen| seen.outgoing && seen.src() != GW).count();
    expect!(untranslated == 0, "{untranslated} packets leave untranslated");

    // The same for datagrams (UDP_SEGMENT).
    let received = segmented_datagrams(bed)?;
    expect!(
        received == [1000; 20],
        "of 20 datagrams of 1000 bytes sent at once {} arrive right",
        received.len()
    );
    for host in [&bed.in1, &bed.out1] {
        let errors = csum_errors(host)?;
        expect!(errors == 0, "{errors} packets with a wrong checksum arrive at {}", host.name());
    }
    Ok(Meets)
}

/// Sends 20,000 bytes by one call, to be cut into datagrams of 1000 by the device; the lengths of those that arrive.
fn segmented_datagrams(bed: &Bed) -> Result<Vec<usize>> {
    let receiver = bed.out1.udp((OUT1, 9))?;
    let sender = bed.in1.udp((IN1, 5000))?;
    let size: libc::c_int = 1000;
    // SAFETY: the option's value is an int, whose address and size are given.
    let done = unsafe {
        let value = (&raw const size).cast();
        libc::setsockopt(
            sender.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            value,
            size_of_val(&size) as u32,
        )
    };
    ensure!(done == 0, "the kernel has no UDP_SEGMENT: {}", std::io::Error::last_os_error());
    let payload: Vec<u8> = (0..20_u8).flat_map(|number| [number; 1000]).collect();
    sender.send_to(&payload, (OUT1, 9))?;
    receiver.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut lengths = Vec::new();
    let mut buffer = [0; 2000];
    while lengths.len() < 20 {
        let Ok((length, from)) = receiver.recv_from(&mut buffer) else { break };
        if from.ip() == GW && buffer[..length].iter().all(|byte| usize::from(*byte) == lengths.len()) {
            lengths.push(length);
        }
    }
    Ok(lengths)
}

/// A frame of more than a page that is sent below the network stack has its link layer header alone in the linear
/// part of its buffer.
pub fn headers_behind_the_linear_part_are_found(bed: &Bed) -> Result<Outcome> {
    let jumbo = |devices: &[&str]| {
        devices.iter().map(|name| format!("link set {name} mtu 9000\n")).collect::<String>()
    };
    for host in [&bed.in1, &bed.in2, &bed.out1, &bed.out2] {
        host.ip(&jumbo(&["eth0"]))?;
    }
    bed.gw.ip(&jumbo(&["port1", "port2", "br0", "wan"]))?;
    bed.seg.ip(&jumbo(&["gw", "out1", "out2", "r2", "seg"]))?;
    let _nat = bed.translate(&Setup::default())?;
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let payload = vec![0x5a; 8000];
    let packets = [
        Packet::udp((SILENT_IN1, 5000), (SILENT_OUT1, 9)),
        Packet::tcp((SILENT_IN1, 40000), (SILENT_OUT1, 80), ACK),
        Packet::echo(SILENT_IN1, SILENT_OUT1, 77),
        Packet::other(50, SILENT_IN1, SILENT_OUT1),
    ];
    for packet in packets {
        let protocol = packet.ip.protocol.0;
        inside.send(&packet.clone().payload(payload.clone()))?;
        let seen = outside.find(|seen| seen.dst() == SILENT_OUT1 && seen.protocol() == protocol)?;
        let Some(seen) = seen else {
            return Ok(Fails(format!("protocol {protocol}: a long packet does not leave")));
        };
        expect!(seen.src() == GW, "protocol {protocol}: a long packet leaves from {}", seen.src());
        let intact = seen.payload() == payload && seen.sums_are_right();
        expect!(intact, "protocol {protocol}: a long packet leaves spoiled");
        let mut answer = packet.answer(seen.source()).payload(payload.clone());
        if protocol == 50 {
            answer = Packet::other(50, SILENT_OUT1, GW).payload(payload.clone());
        }
        outside.send(&answer)?;
        let back = inside.find(|seen| seen.dst() == SILENT_IN1 && seen.protocol() == protocol)?;
        let intact = back.is_some_and(|seen| seen.payload() == payload && seen.sums_are_right());
        expect!(intact, "protocol {protocol}: a long answer does not arrive, or spoiled");
    }
    Ok(Meets)
}
