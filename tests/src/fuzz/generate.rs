//! Packets that mean something to a NAT, most of them.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use natbpf::datapath::Hook;
use natbpf_common::wire::segment::{ACK, FIN, PSH, RST, SYN, TcpFlags};

use super::configuration::{FLOATING, FORWARDED, POOL};
use crate::object::{Body, CUSTOMER_TAG, End, PROVIDER_TAG, Packet};
use crate::random::Random;
use crate::{GATEWAY, SERVER, SERVER2};

const INSIDE: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 0, 0, 11),
    Ipv4Addr::new(10, 0, 0, 12),
    Ipv4Addr::new(10, 0, 0, 13),
    Ipv4Addr::new(10, 0, 0, 200),
];
const OUTSIDE: [Ipv4Addr; 4] =
    [SERVER, SERVER2, Ipv4Addr::new(198, 51, 100, 2), Ipv4Addr::new(192, 0, 2, 77)];
/// Neither here nor there.
const NOBODY: [Ipv4Addr; 4] =
    [Ipv4Addr::new(192, 168, 7, 7), Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::LOCALHOST];
/// Flows that packets are made for.
const REMEMBERED: usize = 128;

/// A packet that has left translated.
#[derive(Clone, Debug)]
pub struct Sent {
    /// As the instance sent it.
    pub packet: Packet,
    /// The source that the outside sees.
    pub external: End,
    /// As it left, from the IPv4 header on.
    pub bytes: Vec<u8>,
}

/// What is sent, and where.
#[derive(Clone, Debug)]
pub struct Case {
    pub kind: &'static str,
    pub hook: Hook,
    pub frame: Vec<u8>,
    /// `None`: it was not built as a packet, or is one of a kind.
    pub packet: Option<Packet>,
}

/// Makes packets, and remembers what became of some.
#[derive(Debug, Default)]
pub struct Generator {
    sent: VecDeque<Sent>,
    /// Packets that arrived translated, from the IPv4 header on.
    arrived: VecDeque<Vec<u8>>,
    /// Datagrams of which a fragment was sent: source, destination, protocol and identification decide.
    datagrams: VecDeque<(Hook, Packet)>,
}

fn remember<T>(list: &mut VecDeque<T>, value: T) {
    if list.len() == REMEMBERED {
        list.pop_front();
    }
    list.push_back(value);
}

impl Generator {
    pub fn has_left(&mut self, sent: Sent) {
        remember(&mut self.sent, sent);
    }

    pub fn has_arrived(&mut self, bytes: Vec<u8>) {
        remember(&mut self.arrived, bytes);
    }

    pub fn next(&mut self, random: &mut Random) -> Case {
        match random.below(100) {
            0..34 => outward(random),
            34..38 => self.hairpin(random),
            38..44 => self.at_port(random),
            44..50 => self.answer(random),
            50..58 => self.error_from_outside(random),
            58..64 => self.error_from_inside(random),
            64..76 => self.fragment(random),
            76..84 => stranger(random),
            84..89 => own(random),
            89..91 => arp(random),
            91..96 => random_body(random),
            _ => random_bytes(random),
        }
    }

    /// To an external address, of an instance or of nobody.
    fn hairpin(&mut self, random: &mut Random) -> Case {
        let to = match self.pick(random) {
            Some(sent) if random.once_in(2) => sent.external,
            _ => (random.pick(&[GATEWAY, FLOATING, POOL[0], OUTSIDE[0]]), port(random)),
        };
        let from = (random.pick(&INSIDE), port(random));
        let packet = any(random, from, to).1;
        built("from inside to an external address", Hook::Inside, dressed(random, packet))
    }

    /// In a flow that was begun, as it comes from the instance.
    fn at_port(&mut self, random: &mut Random) -> Case {
        let Some(sent) = self.pick(random) else { return outward(random) };
        let packet = sent.packet.clone().flags(tcp_flags(random)).ttl(random.pick(&[64, 63, 2, 1, 0]));
        built("in a flow, at its port", Hook::PortIngress, dressed(random, packet))
    }

    /// In a flow that was begun.
    fn answer(&mut self, random: &mut Random) -> Case {
        let Some(sent) = self.pick(random) else { return stranger(random) };
        let mut packet = sent.packet.answer(sent.external);
        if random.once_in(8) {
            // Almost.
            packet = packet.with_source((random.pick(&OUTSIDE), port(random)));
        }
        let packet = packet.flags(tcp_flags(random));
        built("answer in a flow", Hook::Ingress, dressed(random, packet))
    }

    fn pick(&self, random: &mut Random) -> Option<&Sent> {
        (!self.sent.is_empty()).then(|| &self.sent[random.below(self.sent.len())])
    }

    fn error_from_outside(&mut self, random: &mut Random) -> Case {
        let Some(sent) = self.pick(random) else { return stranger(random) };
        let from = if random.once_in(2) { sent.packet.destination().0 } else { random.pick(&OUTSIDE) };
        let to = if random.once_in(16) { random.pick(&POOL) } else { sent.external.0 };
        let packet = error(random, from, to, &sent.bytes);
        built("ICMP error from outside", Hook::Ingress, dressed(random, packet))
    }

    fn error_from_inside(&mut self, random: &mut Random) -> Case {
        if self.arrived.is_empty() {
            return outward(random);
        }
        let quoted = &self.arrived[random.below(self.arrived.len())];
        let [from, to] = [16, 12].map(|at| super::frame::address(quoted, at));
        let from = if random.once_in(4) { random.pick(&[GATEWAY, INSIDE[0], NOBODY[0]]) } else { from };
        let packet = error(random, from, to, quoted);
        built("ICMP error from inside", Hook::Egress, dressed(random, packet))
    }

    /// The first fragment of a new datagram, or one more of an earlier datagram.
    fn fragment(&mut self, random: &mut Random) -> Case {
        let known = (!self.datagrams.is_empty() && !random.once_in(4))
            .then(|| self.datagrams[random.below(self.datagrams.len())].clone());
        let (hook, packet) = known.unwrap_or_else(|| {
            let answer = random.once_in(2).then(|| self.pick(random).cloned()).flatten();
            let new = match answer {
                Some(sent) => (Hook::Ingress, sent.packet.answer(sent.external)),
                None => {
                    let from = (random.pick(&INSIDE), port(random));
                    let to = (random.pick(&OUTSIDE), port(random));
                    (Hook::Egress, any(random, from, to).1)
                }
            };
            let new = (new.0, new.1.id(random.short()));
            remember(&mut self.datagrams, new.clone());
            new
        });
        // The whole: five pieces of 40 bytes, mostly in order.
        let units =
            if random.once_in(16) { random.pick(&[1, 3, 8180, 8191]) } else { 5 * random.below(5) as u16 };
        let last = units == 20 || random.once_in(16);
        let length = if last { 1 + random.below(40) } else { 40 };
        let length = if random.once_in(16) { random.below(60) } else { length };
        let payload = random.bytes(length);
        let mut fragment = packet.fragment(units, !last).payload(payload);
        if units > 0 {
            fragment.body = Body::Other;
        }
        built("fragment", hook, dressed(random, fragment))
    }
}

fn built(kind: &'static str, hook: Hook, packet: Packet) -> Case {
    Case { kind, hook, frame: packet.bytes(), packet: Some(packet) }
}

/// Few, so that they meet; sometimes a privileged one, any, or none.
fn port(random: &mut Random) -> u16 {
    match random.below(20) {
        0 => random.short(),
        1 => random.pick(&[0, 1, 53, 80, 1023, 1024, FORWARDED, 65535]),
        _ => 5000 + random.below(8) as u16,
    }
}

fn tcp_flags(random: &mut Random) -> TcpFlags {
    match random.below(8) {
        0 => TcpFlags::from_bits_retain(random.byte()),
        1 | 2 => SYN,
        3 => SYN | ACK,
        4 => FIN | ACK,
        5 => RST,
        6 => ACK | PSH,
        _ => ACK,
    }
}

fn any(random: &mut Random, from: End, to: End) -> (&'static str, Packet) {
    let length = random.below(80);
    let (kind, packet) = match random.below(10) {
        0..4 => {
            let packet = Packet::udp(from, to);
            ("UDP", if random.once_in(8) { packet.without_sum() } else { packet })
        }
        4..7 => ("TCP", Packet::tcp(from, to, tcp_flags(random))),
        7 | 8 => {
            let queries = [8, 8, 8, 13, 15, 17];
            let any = random.byte();
            let others = [0, 14, 18, 9, 10, 30, 255, any];
            let kind = if random.once_in(8) { random.pick(&others) } else { random.pick(&queries) };
            ("ICMP query or other", Packet::icmp(from.0, to.0, kind, from.1))
        }
        _ => {
            let protocol = random.pick(&[33, 47, 50, 51, 132, 136, 4, 41, 255]);
            ("other protocol", Packet::other(protocol, from.0, to.0))
        }
    };
    (kind, packet.payload(random.bytes(length)))
}

/// Options, tags, a time to live.
fn dressed(random: &mut Random, mut packet: Packet) -> Packet {
    if random.once_in(10) {
        packet = packet.options(1 + random.below(10));
    }
    if random.once_in(10) {
        let tags = [&[CUSTOMER_TAG][..], &[PROVIDER_TAG, CUSTOMER_TAG]];
        packet = packet.tags(random.pick(&tags));
    }
    if random.once_in(10) {
        packet = packet.ttl(random.byte());
    }
    packet
}

fn error(random: &mut Random, from: Ipv4Addr, to: Ipv4Addr, quoted: &[u8]) -> Packet {
    let kind = random.pick(&[3, 3, 3, 11, 11, 4, 5, 12]);
    // From the least that RFC 792 asks for to all, or less than that.
    let length = match random.below(8) {
        0 => random.below(quoted.len() + 1),
        1..4 => quoted.len().min(28),
        _ => quoted.len(),
    };
    let mut quoted = quoted[..length].to_vec();
    if random.once_in(10) && !quoted.is_empty() {
        let at = random.below(quoted.len());
        quoted[at] = random.byte();
    }
    if random.once_in(4) {
        // An extension (RFC 4884) or padding.
        let more = random.below(40);
        quoted.extend(random.bytes(more));
    }
    let rest = random.pick(&[0, 1280, 576, 0x0005_0000]);
    Packet::icmp_error(from, to, kind, random.pick(&[0, 1, 3, 4, 13, 200]), rest, &quoted)
}

/// Somebody outside who was not asked.
fn stranger(random: &mut Random) -> Case {
    let external = random.pick(&[GATEWAY, GATEWAY, FLOATING, POOL[0], POOL[1]]);
    let from = (random.pick(&OUTSIDE), port(random));
    let from = if random.once_in(16) { (external, from.1) } else { from };
    let to = (external, if random.once_in(4) { FORWARDED } else { port(random) });
    let (_, packet) = any(random, from, to);
    built("from a stranger", Hook::Ingress, dressed(random, packet))
}

/// The gateway itself sends.
fn own(random: &mut Random) -> Case {
    let (from, to) = ((GATEWAY, port(random)), (random.pick(&OUTSIDE), port(random)));
    let (_, packet) = any(random, from, to);
    built("from the gateway itself", Hook::Egress, dressed(random, packet))
}

fn outward(random: &mut Random) -> Case {
    let from = (random.pick(&INSIDE), port(random));
    let from = if random.once_in(20) { (random.pick(&NOBODY), from.1) } else { from };
    let to = (random.pick(&OUTSIDE), port(random));
    let to = if random.once_in(40) { (random.pick(&NOBODY), to.1) } else { to };
    let (kind, packet) = any(random, from, to);
    built(kind, Hook::Egress, dressed(random, packet))
}

fn arp(random: &mut Random) -> Case {
    let target = random.pick(&[GATEWAY, FLOATING, POOL[0], OUTSIDE[0]]);
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, random.pick(&[1, 1, 1, 2])]);
    frame.extend([2, 0, 0, 0, 0, 9]);
    frame.extend(OUTSIDE[1].octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    let hook = random.pick(&[Hook::Ingress, Hook::Ingress, Hook::Egress]);
    Case { kind: "ARP", hook, frame, packet: None }
}

/// A sound IPv4 header and anything behind it.
fn random_body(random: &mut Random) -> Case {
    let (from, to, hook) = match random.once_in(2) {
        true => (random.pick(&INSIDE), random.pick(&OUTSIDE), Hook::Egress),
        false => (random.pick(&OUTSIDE), GATEWAY, Hook::Ingress),
    };
    let any = random.byte();
    let protocol = random.pick(&[1, 6, 17, 33, 136, any]);
    let length = random.below(80);
    let mut packet = Packet::other(protocol, from, to).payload(random.bytes(length)).id(random.short());
    if random.once_in(4) {
        packet = packet.fragment(random.short() & 0x1fff, random.once_in(2));
    }
    let frame = dressed(random, packet).bytes();
    Case { kind: "anything behind an IPv4 header", hook, frame, packet: None }
}

fn random_bytes(random: &mut Random) -> Case {
    let length = 15 + random.below(100);
    let mut frame = random.bytes(length);
    if !random.once_in(4) {
        frame[12..14].copy_from_slice(&[8, 0]);
    }
    if random.once_in(2) {
        frame[14] = 0x45;
    }
    let hook = random.pick(&[Hook::Egress, Hook::Ingress, Hook::Inside, Hook::PortIngress]);
    Case { kind: "random bytes", hook, frame, packet: None }
}
