//! Errors from inside, about packets that came from outside.

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use crate::conformance::prelude::*;

const CLIENT: End = (SILENT_IN1, 5000);
const SERVER: End = (SILENT_OUT1, 9);

/// A packet from outside as it was sent, and as it arrived inside, which is what errors from there quote.
struct Inbound {
    sent: Seen,
    arrived: Seen,
}

impl Inbound {
    fn new(passage: &Passage, packet: &Packet) -> Result<Self> {
        let sent = Seen::of_packet(&packet.ip_bytes(), true).context("no packet")?;
        let arrived = passage.inward(&[packet.ip_bytes()])?.pop();
        let arrived = arrived.with_context(|| format!("{sent} does not arrive inside"))?;
        Ok(Self { sent, arrived })
    }

    /// The answer to a packet of [`CLIENT`].
    fn answer(passage: &Passage) -> Result<Self> {
        let question = Packet::udp(CLIENT, SERVER);
        let left = passage.leaves_by_another_port(&question)?;
        Self::new(passage, &question.answer(left.source()))
    }

    fn error(&self, from: Ipv4Addr, kind: u8, code: u8) -> Packet {
        Packet::icmp_error(from, self.arrived.src(), kind, code, 0, self.arrived.bytes())
    }

    /// What an error that left says wrongly about the packet that was sent.
    fn complaint(&self, error: &Seen) -> Option<&'static str> {
        let Some(quote) = error.quote() else { return Some("it quotes nothing") };
        if error.src() != GW {
            Some("it comes from another address than the gateway's")
        } else if (quote.source(), quote.destination()) != (self.sent.source(), self.sent.destination()) {
            Some("the quoted packet has other ends than the one that was sent")
        } else if !error.sums_are_right() || !quote.sums_are_right() {
            Some("a checksum is wrong")
        } else if quote.payload() != self.sent.payload() {
            Some("the quoted payload is another one")
        } else {
            None
        }
    }
}

pub fn one_about_no_flow_does_not_leave(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let unknown = [SILENT_IN1, GW].map(|to| {
        let quote = Packet::udp((SILENT_OUT1, 777), (to, 5555)).ip_bytes();
        Packet::icmp_error(SILENT_IN1, SILENT_OUT1, 3, 3, 0, &quote).ip_bytes()
    });
    let left = passage.outward(&unknown)?;
    expect!(left.is_empty(), "an error about no flow leaves: {}", left[0]);
    Ok(Meets)
}

pub fn one_about_a_forwarded_packet(bed: &Bed) -> Result<Outcome> {
    let setup = Setup::default().forward(Forward::new("wan", "8080", "10.0.0.11:80"));
    let _nat = bed.translate(&setup.forward(Forward::new("wan", "8081", "10.0.0.21:81")))?;
    let passage = Passage::new(bed)?;

    // Nobody listens at 10.0.0.11:80.
    let socket = bed.out1.udp((OUT1, 5000))?;
    socket.connect((GW, 8080))?;
    socket.send(b"nobody listens there")?;
    let heard = socket.recv(&mut [0; 64]).map_err(|error| error.kind());
    expect!(heard == Err(ErrorKind::ConnectionRefused), "the sender does not hear of a closed port");

    let packets = [Packet::udp(SERVER, (GW, 8081)), Packet::tcp(SERVER, (GW, 8081), SYN).payload(b"")];
    for packet in packets {
        let inbound = Inbound::new(&passage, &packet)?;
        ensure!(inbound.arrived.destination() == (SILENT_IN1, 81), "{} arrives inside", inbound.arrived);
        for (kind, code) in [(3, 0), (3, 1), (3, 3), (3, 10), (3, 13), (11, 0), (12, 0)] {
            let left = passage.outward(&[inbound.error(SILENT_IN1, kind, code).ip_bytes()])?;
            let error = left.iter().find(|seen| seen.icmp() == Some((kind, code)));
            let Some(error) = error else {
                return Ok(Fails(format!("of an error {kind}/{code} from inside there leaves {left:?}")));
            };
            let complaint = inbound.complaint(error);
            expect!(complaint.is_none(), "{error}: {}", complaint.unwrap_or_default());
        }
    }
    Ok(Meets)
}

pub fn it_comes_from_the_external_address(bed: &Bed) -> Result<Outcome> {
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let inbound = Inbound::answer(&passage)?;
    // A router inside, the host itself, and a router that the masquerade does not know.
    for from in ["10.0.0.9".parse()?, SILENT_IN1, "192.168.5.1".parse()?] {
        let left = passage.outward(&[inbound.error(from, 3, 1).ip_bytes()])?;
        let [error] = &left[..] else {
            return Ok(Fails(format!("of an error of {from} there leaves {left:?}")));
        };
        let complaint = inbound.complaint(error);
        expect!(complaint.is_none(), "of an error of {from}: {}", complaint.unwrap_or_default());
    }
    Ok(Meets)
}

/// The errors of inside hosts, true and false ones, and those of the gateway about packets that it could not deliver.
pub fn no_inside_address_in_any_byte(bed: &Bed) -> Result<Outcome> {
    const GONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);
    let _nat = bed.translate(&Setup::default())?;
    let passage = Passage::new(bed)?;
    let inbound = Inbound::answer(&passage)?;
    let unknown = [(SERVER, (SILENT_IN1, 5555)), (SERVER, (GW, 5555)), ((SILENT_IN1, 5555), SERVER)]
        .map(|(from, to)| Packet::udp(from, to).ip_bytes());
    let mut errors = Vec::new();
    for (kind, code) in [(3, 1), (3, 3), (4, 0), (5, 1), (11, 0), (12, 0)] {
        for from in ["10.0.0.9".parse()?, SILENT_IN1] {
            errors.push(inbound.error(from, kind, code).ip_bytes());
            let about =
                |quote: &Vec<u8>| Packet::icmp_error(from, SILENT_OUT1, kind, code, 0, quote).ip_bytes();
            errors.extend(unknown.iter().map(about));
        }
    }
    let mut left = passage.outward(&errors)?;
    let known = left.iter().filter(|seen| seen.src() == GW && seen.is_icmp_error()).count();
    expect!(known > 0, "none of the errors about a packet of a flow leaves");

    // From now on the gateway refuses: no hop left, too long, no way.
    let lost = Packet::udp((GONE, 5001), SERVER);
    let lost = lost.answer(passage.leaves(&lost)?.source());
    bed.gw.ip(&format!("link set br0 mtu 1300\nroute add prohibit {GONE}"))?;
    let answer = Packet::udp(SERVER, inbound.sent.destination());
    let refused =
        [answer.clone().ttl(1), answer.payload([b'x'; 1400]).df(), lost].map(|packet| packet.ip_bytes());
    refused.iter().try_for_each(|packet| passage.outside.send_ip(packet))?;
    // The answer to a packet that comes through is the gateway's last word.
    passage.arrived()?;
    let told = passage.left()?;
    let kinds = told.iter().filter_map(Seen::icmp).collect::<Vec<_>>();
    expect!(kinds == [(11, 0), (3, 4), (3, 13)], "of what the gateway refuses it says {told:?}");
    left.extend(told);

    let is_inside = |seen: &&Seen| seen.bytes().windows(4).any(|bytes| bytes[..3] == [10, 0, 0]);
    let leaks = left.iter().filter(is_inside).collect::<Vec<_>>();
    let first = leaks.first().map(ToString::to_string).unwrap_or_default();
    expect!(leaks.is_empty(), "{} errors show an inside address, first {first}", leaks.len());
    Ok(Meets)
}
