//! Packets whose headers contradict themselves, sent from inside: none begins a flow, none leaves, translated or not.

use crate::conformance::prelude::*;

/// What is wrong with a packet, and the packet from its IPv4 header on.
type Odd = (&'static str, Vec<u8>);

const CLIENT: End = (SILENT_IN1, 5000);
const SERVER: End = (SILENT_OUT1, 9);
/// Length of an IPv4 header without options.
const IP: usize = 20;

fn tcp() -> Vec<u8> {
    Packet::tcp(CLIENT, SERVER, SYN).payload([]).ip_bytes()
}

fn udp() -> Vec<u8> {
    Packet::udp(CLIENT, SERVER).ip_bytes()
}

fn echo() -> Vec<u8> {
    Packet::echo(SILENT_IN1, SILENT_OUT1, 77).ip_bytes()
}

/// With bytes changed and the checksum of the IPv4 header right again, over as much of one as it says it has.
fn changed(mut packet: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for (at, value) in changes {
        packet[*at] = *value;
    }
    let length = (usize::from(packet[0] & 0xf) * 4).clamp(IP, packet.len());
    packet[10..12].fill(0);
    let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&packet[..length]).ones_complement();
    packet[10..12].copy_from_slice(&sum.to_ne_bytes());
    packet
}

/// Cut behind the IPv4 header and so many bytes more; its total length says so.
fn cut(mut packet: Vec<u8>, body: usize) -> Vec<u8> {
    packet.truncate(IP + body);
    changed(packet, &[(2, 0), (3, (IP + body) as u8)])
}

/// What became of such packets.
struct Fate {
    /// Names of those that left.
    left: Vec<&'static str>,
    /// One of them with the inside source.
    leaked: bool,
    /// Flows that they began.
    begun: usize,
}

impl Fate {
    fn of(bed: &Bed, packets: &[Odd]) -> Result<Self> {
        let nat = bed.translate(&Setup::default())?;
        let (inside, uplink) = (bed.in1.wire()?, bed.uplink()?);
        let (mut left, mut leaked) = (Vec::new(), false);
        for (name, packet) in packets {
            inside.send_ip(packet)?;
            // An ordinary packet behind each tells it from the next one and shows that all is well.
            inside.send(&Packet::udp((SILENT_IN2, 6000), (SILENT_OUT2, 9)).payload(*b"next"))?;
            loop {
                let seen = uplink.expect(|seen| seen.outgoing)?;
                if seen.src() == GW && seen.payload() == b"next" {
                    break;
                }
                leaked |= seen.src() != GW;
                left.push(*name);
            }
        }
        let flows = nat.flows()?;
        Ok(Self { left, leaked, begun: flows.iter().filter(|flow| flow.original.src == SILENT_IN1).count() })
    }

    fn how(&self) -> String {
        let how = if self.leaked { "leaves with the inside source" } else { "leaves" };
        format!("{how}: {}", self.left.join(", "))
    }
}

/// None of them may leave, or begin a flow.
fn swallowed(bed: &Bed, packets: &[Odd]) -> Result<Outcome> {
    let fate = Fate::of(bed, packets)?;
    expect!(fate.left.is_empty(), "{}", fate.how());
    expect!(fate.begun == 0, "{} flows are begun by them", fate.begun);
    Ok(Meets)
}

pub fn ip_version_and_header_length(bed: &Bed) -> Result<Outcome> {
    let first = |packet, byte| changed(packet, &[(0, byte)]);
    swallowed(
        bed,
        &[
            ("version 0", first(udp(), 0x05)),
            ("version 5", first(tcp(), 0x55)),
            ("version 6", first(udp(), 0x65)),
            ("version 15", first(echo(), 0xf5)),
            ("a header of 0 bytes", first(udp(), 0x40)),
            ("a header of 4 bytes", first(tcp(), 0x41)),
            ("a header of 16 bytes", first(udp(), 0x44)),
        ],
    )
}

pub fn ip_total_length(bed: &Bed) -> Result<Outcome> {
    let total = |packet, length: u16| {
        let [high, low] = length.to_be_bytes();
        changed(packet, &[(2, high), (3, low)])
    };
    let cut_off = |length| udp()[..length].to_vec();
    swallowed(
        bed,
        &[
            ("a total length of 0", total(udp(), 0)),
            ("a total length of 19", total(tcp(), 19)),
            ("a total length below a header with options", {
                let packet = Packet::udp(CLIENT, SERVER).options(5).ip_bytes();
                total(packet, 36)
            }),
            ("a total length beyond the frame", total(udp(), 1400)),
            ("a total length of 65535", total(tcp(), 0xffff)),
            ("no IPv4 header at all", cut_off(0)),
            ("a frame of 1 byte", cut_off(1)),
            ("a frame of 19 bytes", cut_off(19)),
        ],
    )
}

pub fn ip_options(bed: &Bed) -> Result<Outcome> {
    const RECORD_ROUTE: u8 = 7;
    const TIMESTAMP: u8 = 68;
    const UNKNOWN: u8 = 0x5e;
    let with = |options: [u8; 4]| {
        let packet = Packet::udp(CLIENT, SERVER).options(1).ip_bytes();
        let changes: Vec<_> = options.into_iter().enumerate().map(|(at, byte)| (IP + at, byte)).collect();
        changed(packet, &changes)
    };
    swallowed(
        bed,
        &[
            ("a header that is all of the packet and more", changed(cut(udp(), 8), &[(0, 0x4f)])),
            ("an option of length 0", with([UNKNOWN, 0, 0, 0])),
            ("an option of length 1", with([UNKNOWN, 1, 0, 0])),
            ("an option longer than the header", with([UNKNOWN, 5, 0, 0])),
            ("an option of length 255", with([RECORD_ROUTE, 255, 4, 0])),
            ("a record route of length 2", with([RECORD_ROUTE, 2, 1, 1])),
            ("a record route with its pointer in its head", with([RECORD_ROUTE, 4, 1, 0])),
            ("a timestamp of length 0", with([TIMESTAMP, 0, 5, 0])),
            ("an option without a length at the end", with([1, 1, 1, UNKNOWN])),
        ],
    )
}

pub fn tcp_headers_and_flags(bed: &Bed) -> Result<Outcome> {
    let offset = |words: u8| changed(tcp(), &[(IP + 12, words << 4)]);
    let flags = |flags: TcpFlags| Packet::tcp(CLIENT, SERVER, flags).payload([]).ip_bytes();
    swallowed(
        bed,
        &[
            ("a data offset of 0", offset(0)),
            ("a data offset of 4", offset(4)),
            ("a data offset beyond the segment", offset(6)),
            ("a data offset of 15", offset(15)),
            ("no flags", flags(TcpFlags::empty())),
            ("SYN and FIN", flags(SYN | FIN)),
            ("SYN and RST", flags(SYN | RST)),
            ("FIN alone", flags(FIN)),
            ("FIN, PSH and URG", flags(FIN | TcpFlags::PSH | TcpFlags::URG)),
            ("all flags", flags(TcpFlags::from_bits_retain(0x3f))),
        ],
    )
}

pub fn udp_length(bed: &Bed) -> Result<Outcome> {
    let length = |length: u16| {
        let [high, low] = length.to_be_bytes();
        changed(udp(), &[(IP + 4, high), (IP + 5, low)])
    };
    let whole = (udp().len() - IP) as u16;
    swallowed(
        bed,
        &[
            ("a length of 0", length(0)),
            ("a length of 7", length(7)),
            ("a length of one too many", length(whole + 1)),
            ("a length of 65535", length(0xffff)),
        ],
    )
}

pub fn truncated_transport_headers(bed: &Bed) -> Result<Outcome> {
    swallowed(
        bed,
        &[
            ("TCP without a header", cut(tcp(), 0)),
            ("TCP of 2 bytes", cut(tcp(), 2)),
            ("TCP of 4 bytes", cut(tcp(), 4)),
            ("TCP of 13 bytes", cut(tcp(), 13)),
            ("TCP of 19 bytes", cut(tcp(), 19)),
            ("UDP without a header", cut(udp(), 0)),
            ("UDP of 3 bytes", cut(udp(), 3)),
            ("UDP of 4 bytes", cut(udp(), 4)),
            ("UDP of 7 bytes", cut(udp(), 7)),
        ],
    )
}

pub fn port_zero(bed: &Bed) -> Result<Outcome> {
    let none = |end: End| (end.0, 0);
    swallowed(
        bed,
        &[
            ("UDP from port 0", Packet::udp(none(CLIENT), SERVER).ip_bytes()),
            ("UDP to port 0", Packet::udp(CLIENT, none(SERVER)).ip_bytes()),
            ("TCP from port 0", Packet::tcp(none(CLIENT), SERVER, SYN).payload([]).ip_bytes()),
            ("TCP to port 0", Packet::tcp(CLIENT, none(SERVER), SYN).payload([]).ip_bytes()),
        ],
    )
}

pub fn icmp_types_and_codes(bed: &Bed) -> Result<Outcome> {
    let message = |kind, code| {
        // As an error it would quote what nobody has sent.
        let quoted = Packet::udp(SERVER, CLIENT).ip_bytes();
        Packet::icmp_error(SILENT_IN1, SILENT_OUT1, kind, code, 0, &quoted).ip_bytes()
    };
    swallowed(
        bed,
        &[
            ("type 1", message(1, 0)),
            ("type 19", message(19, 0)),
            ("type 40", message(40, 0)),
            ("type 255", message(255, 0)),
            ("unreachable with code 200", message(3, 200)),
            ("time exceeded with code 9", message(11, 9)),
            ("ICMP without a header", cut(echo(), 0)),
            ("ICMP of 4 bytes", cut(echo(), 4)),
            ("ICMP of 7 bytes", cut(echo(), 7)),
        ],
    )
}

pub fn wrong_transport_checksums(bed: &Bed) -> Result<Outcome> {
    let wrong = |packet: Vec<u8>, at: usize| {
        let value = packet[IP + at] ^ 0x55;
        changed(packet, &[(IP + at, value)])
    };
    let fate = Fate::of(
        bed,
        &[
            ("TCP with a wrong checksum", wrong(tcp(), 16)),
            ("UDP with a wrong checksum", wrong(udp(), 6)),
            ("an echo request with a wrong checksum", wrong(echo(), 2)),
        ],
    )?;
    expect!(fate.begun == 0, "{} flows are begun by three packets with a wrong checksum", fate.begun);
    if !fate.left.is_empty() {
        return Ok(Partly(format!("no flow is begun, but {}", fate.how())));
    }
    Ok(Meets)
}
