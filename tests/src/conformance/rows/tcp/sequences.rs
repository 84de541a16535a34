//! Whatever two stacks may say to each other passes, unchanged but for address, port and checksum.

use std::io::{Read, Write};
use std::net::Shutdown;

use etherparse::TcpOptionElement;
use natbpf_common::wire::segment::{PSH, URG};

use crate::conformance::prelude::*;
use crate::conformance::script::Script;
use crate::conformance::tcp::connect;
use crate::ends::tools::together;

const ECE: TcpFlags = TcpFlags::ECE;
const CWR: TcpFlags = TcpFlags::CWR;

/// One end of a connection as it writes its segments.
struct Speaker<'a> {
    from: &'a Wire,
    to: &'a Wire,
    own: End,
    peer: End,
    next: u32,
}

impl Speaker<'_> {
    /// The next segment.
    fn segment(&mut self, flags: TcpFlags, acknowledged: u32, payload: &[u8]) -> Packet {
        let packet =
            Packet::tcp(self.own, self.peer, flags).numbers(self.next, acknowledged).payload(payload);
        self.next += u32::try_from(payload.len()).unwrap_or_default();
        self.next += u32::from(flags.intersects(SYN)) + u32::from(flags.intersects(FIN));
        packet
    }

    /// Sends it; what is wrong with what arrives, if something is.
    fn sends(&self, packet: &Packet) -> Result<Result<Seen, String>> {
        let sent = Seen::of_packet(&packet.ip_bytes(), false).context("a packet that was just built")?;
        self.from.send(packet)?;
        let arrived = self.to.find_within(Duration::from_secs(1), |seen| {
            let numbers = (seen.sequence(), seen.acknowledgment(), seen.flags());
            !seen.outgoing && numbers == (sent.sequence(), sent.acknowledgment(), sent.flags())
        })?;
        let Some(seen) = arrived else { return Ok(Err("does not get through".to_owned())) };
        // All but ports and checksum: windows, urgent pointer, options, data.
        let rest = |seen: &Seen| [&seen.body()[4..16], &seen.body()[18..]].concat();
        Ok(match rest(&seen) == rest(&sent) && seen.sums_are_right() {
            true => Ok(seen),
            false => Err(format!("arrives changed: {seen}")),
        })
    }
}

fn with_options(mut packet: Packet, options: &[TcpOptionElement]) -> Result<Packet> {
    let Body::Tcp(header) = &mut packet.body else { bail!("not a segment: {packet:?}") };
    header.set_options(options).map_err(|error| anyhow::anyhow!("options: {error:?}"))?;
    Ok(packet)
}

fn urgent(mut packet: Packet) -> Packet {
    if let Body::Tcp(header) = &mut packet.body {
        header.urgent_pointer = 3;
    }
    packet
}

pub fn every_valid_segment_passes(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let closings: [Closing; 4] = [half_closed, closed_at_once, reset_by_the_client, reset_by_the_server];
    for (port, closing) in (40000..).zip(closings) {
        if let Some(wrong) = conversation(bed, port, closing)? {
            return Ok(Fails(wrong));
        }
    }
    expect!(
        bytes_after_half_close(bed)?,
        "of a megabyte sent after the server has closed some does not arrive"
    );
    Ok(Meets)
}

/// Which way, what, and what it is called.
type Step = (bool, Packet, &'static str);
const OUT: bool = true;
const BACK: bool = false;

type Closing = fn(&mut Speaker<'_>, &mut Speaker<'_>) -> Vec<Step>;

/// Opens a connection from `port`, moves data and closes it by `closing`; what does not pass.
fn conversation(bed: &Bed, port: u16, closing: Closing) -> Result<Option<String>> {
    let (inside, outside) = (bed.in1.wire()?, bed.out1.wire()?);
    let (own, peer) = ((SILENT_IN1, port), (SILENT_OUT1, 80));
    let mut client = Speaker { from: &inside, to: &outside, own, peer, next: 1000 };

    let options = [
        TcpOptionElement::MaximumSegmentSize(1460),
        TcpOptionElement::SelectiveAcknowledgementPermitted,
        TcpOptionElement::Timestamp(7, 0),
        TcpOptionElement::Noop,
        TcpOptionElement::WindowScale(7),
    ];
    let syn = with_options(client.segment(SYN | ECE | CWR, 0, b"data in the SYN"), &options)?;
    let external = match client.sends(&syn)? {
        Ok(seen) => seen.source(),
        Err(wrong) => return Ok(Some(format!("a SYN with options, data and ECN {wrong}"))),
    };
    let mut server = Speaker { from: &outside, to: &inside, own: peer, peer: external, next: 500_000 };

    let syn_ack = with_options(server.segment(SYN | ACK | ECE, 1016, b""), &options)?;
    let times = [TcpOptionElement::Noop, TcpOptionElement::Noop, TcpOptionElement::Timestamp(8, 7)];
    let mut steps = vec![
        (BACK, syn_ack, "the SYN/ACK"),
        (OUT, with_options(client.segment(ACK, 500_001, b""), &times)?, "the ACK of the handshake"),
        (OUT, client.segment(PSH | ACK | CWR, 500_001, b"a request"), "data"),
        (OUT, client.segment(PSH | ACK, 500_001, b"more of it"), "more data"),
    ];
    // As if the first of the two had been lost.
    let gap = [TcpOptionElement::SelectiveAcknowledgement((1025, 1035), [None; 3])];
    let gap = with_options(server.segment(ACK | ECE, 1016, b""), &gap)?;
    steps.extend([
        (BACK, gap, "an ACK with SACK and ECN"),
        (BACK, server.segment(PSH | ACK, 1035, b"a response"), "data from outside"),
        (OUT, urgent(client.segment(URG | PSH | ACK, 500_011, b"now!")), "urgent data"),
    ]);
    let keep_alive = Packet::tcp(own, peer, ACK).numbers(client.next - 1, 500_011).payload(b"");
    let from_outside = Packet::tcp(peer, external, ACK).numbers(server.next - 1, client.next).payload(b"");
    steps.extend([
        (OUT, keep_alive.clone(), "a keep-alive"),
        (OUT, keep_alive.payload(b"\0"), "a keep-alive with a byte of data"),
        (BACK, from_outside, "a keep-alive from outside"),
    ]);
    steps.extend(closing(&mut client, &mut server));
    for (out, packet, what) in steps {
        let speaker = if out { &client } else { &server };
        if let Err(wrong) = speaker.sends(&packet)? {
            return Ok(Some(format!("{what} {wrong}")));
        }
    }
    Ok(None)
}

fn half_closed(client: &mut Speaker<'_>, server: &mut Speaker<'_>) -> Vec<Step> {
    let mut steps = vec![(BACK, server.segment(FIN | ACK, client.next, b""), "the server's FIN")];
    for _ in 0..3 {
        let data = client.segment(ACK, server.next, b"data after the FIN");
        steps.push((OUT, data, "data after the server's FIN"));
        steps.push((BACK, server.segment(ACK, client.next, b""), "the ACK of data after the FIN"));
    }
    steps.push((OUT, client.segment(FIN | ACK, server.next, b""), "the client's FIN"));
    steps.push((BACK, server.segment(ACK, client.next, b""), "the last ACK"));
    steps
}

fn closed_at_once(client: &mut Speaker<'_>, server: &mut Speaker<'_>) -> Vec<Step> {
    let (of_client, of_server) = (client.next, server.next);
    vec![
        (OUT, client.segment(FIN | ACK, of_server, b""), "the client's FIN"),
        (BACK, server.segment(FIN | ACK, of_client, b""), "the server's FIN at the same time"),
        (OUT, client.segment(ACK, server.next, b""), "the client's ACK of a FIN"),
        (BACK, server.segment(ACK, client.next, b""), "the server's ACK of a FIN"),
    ]
}

fn reset_by_the_client(client: &mut Speaker<'_>, server: &mut Speaker<'_>) -> Vec<Step> {
    vec![(OUT, client.segment(RST, server.next, b""), "the client's RST")]
}

fn reset_by_the_server(client: &mut Speaker<'_>, server: &mut Speaker<'_>) -> Vec<Step> {
    vec![(BACK, server.segment(RST | ACK, client.next, b""), "the server's RST")]
}

/// Whether a megabyte arrives whole that two ordinary stacks move after the server has said all it had to
/// say.
fn bytes_after_half_close(bed: &Bed) -> Result<bool> {
    let listener = bed.out1.tcp_listener((OUT1, 8080))?;
    let data: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    let mut client = connect(&bed.in1, 39999, (OUT1, 8080))?;
    let (mut server, _) = listener.accept()?;
    server.shutdown(Shutdown::Write)?;
    ensure!(client.read(&mut [0])? == 0, "the server has not closed");
    let limit = Some(Duration::from_secs(5));
    client.set_write_timeout(limit)?;
    server.set_read_timeout(limit)?;
    let receive = move || {
        let mut received = Vec::new();
        server.read_to_end(&mut received).is_ok().then_some(received)
    };
    let (received, sent) = together(receive, move || client.write_all(&data).is_ok().then_some(data));
    Ok(received.is_some() && received == sent)
}

/// The two SYNs cross, and so do the SYN/ACKs.
pub fn both_ends_may_open_at_once(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let mut connection = Script::new(bed, 40000, 5000)?;
    connection.client_sends(SYN, b"")?.context("a SYN does not leave")?;
    let external = connection.external;
    let steps = [
        connection.server_sends(SYN, b"")?.is_some(),
        connection.client_sends_at(1000, SYN | ACK, b"")?.is_some(),
        connection.server_sends_at(500_000, SYN | ACK, b"")?.is_some(),
        connection.client_sends(ACK, b"from inside")?.is_some(),
        connection.server_sends(ACK, b"from outside")?.is_some(),
    ];
    let names =
        ["the SYN", "the SYN/ACK from inside", "the SYN/ACK", "data from inside", "data from outside"];
    let lost: Vec<_> = names.iter().zip(steps).filter(|(_, passed)| !passed).map(|(name, _)| *name).collect();
    expect!(lost.is_empty(), "of a simultaneous open these do not get through: {}", lost.join(", "));
    expect!(connection.external == external, "the port changes on the way: {:?}", connection.external);
    Ok(Meets)
}
