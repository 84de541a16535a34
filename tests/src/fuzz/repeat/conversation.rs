//! Two hosts that talk across the host, and what that does to their packets, each way.

use super::host::{Outcome, Treatment};
use super::odd::Odd;
use super::plain::{ESP, End, GRE, Plain, SCTP, TCP, Tuple, UDP, put};
use crate::random::Random;

const DCCP: u8 = 33;
const EXPERIMENT: u8 = 253;

const ACK: u8 = 0x10;
const PUSH: u8 = 0x08;

/// A tag's protocol (802.1Q, 802.1ad), as it stands in a frame, in the upper half.
const TAGS: [u32; 2] = [(0x8100_u16.to_be() as u32) << 16, (0x88a8_u16.to_be() as u32) << 16];

/// One direction.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub tuple: Tuple,
    pub v6: bool,
    /// Destination and source of its frames.
    pub ethernet: [u8; 12],
    /// DSCP, in its place.
    service: u8,
    /// Time to live of most packets.
    life: u8,
    /// Type of the ICMP message.
    query: u8,
    /// UDP without a checksum.
    unsummed: bool,
    pub treatment: Treatment,
    /// Packets fare one way or the other.
    pub other: Option<Treatment>,
    /// What is done to all packets besides.
    pub odd: Option<Odd>,
    /// All packets leave twice.
    pub floods: bool,
}

fn mac(random: &mut Random) -> [u8; 6] {
    // Few, so that machines have several conversations.
    [2, 0, 0, random.below(3) as u8, 1, random.below(40) as u8]
}

fn frame_of(destination: [u8; 6], source: [u8; 6]) -> [u8; 12] {
    [destination, source].concat().try_into().expect("twelve bytes")
}

fn address(random: &mut Random, v6: bool) -> Vec<u8> {
    let mut bytes = random.bytes(if v6 { 16 } else { 4 });
    // Neither a group nor nobody.
    bytes[0] = if v6 { 0x20 } else { 1 + (bytes[0] % 223) };
    bytes
}

fn tag(random: &mut Random) -> u32 {
    if random.once_in(2) { 0 } else { random.pick(&TAGS) | u32::from(random.short()) }
}

impl Conversation {
    /// Both directions of a conversation between two of these devices.
    pub fn pair(random: &mut Random, edges: &[u32]) -> [Self; 2] {
        let v6 = random.once_in(2);
        let icmp = if v6 { 58 } else { 1 };
        let protocol =
            random.pick(&[TCP, TCP, TCP, UDP, UDP, UDP, icmp, icmp, GRE, ESP, SCTP, DCCP, EXPERIMENT]);
        let (edge, exit) = (random.pick(edges), random.pick(edges));
        let requests: &[u8] = if v6 { &[128] } else { &[8, 8, 8, 13, 15, 17] };
        let query = random.pick(requests);
        let ports = match protocol {
            TCP | UDP => (random.short(), random.short()),
            // The type of a request may be an identifier, too.
            _ if protocol == icmp && random.once_in(4) => (u16::from(query), u16::from(query)),
            _ if protocol == icmp => (random.short(), u16::from(query)),
            _ => (0, 0),
        };
        let tuple = Tuple {
            edge,
            tag: tag(random),
            source: (address(random, v6), ports.0),
            destination: (address(random, v6), ports.1),
            protocol,
            reply: false,
        };
        let ethernet = frame_of(mac(random), mac(random));
        let treatment = treatment(random, &tuple, exit, icmp);
        let mut there = Self {
            tuple,
            v6,
            ethernet,
            service: if random.once_in(4) { random.byte() & 0xfc } else { 0 },
            life: random.pick(&[64, 64, 128, 255]),
            query,
            unsummed: random.once_in(4),
            treatment,
            other: None,
            odd: random.once_in(16).then(|| Odd::any(random)),
            floods: random.once_in(24),
        };
        let mut back = there.back();
        back.odd = random.once_in(16).then(|| Odd::any(random));
        if random.once_in(16) {
            let exit = random.pick(edges);
            there.other = Some(self::treatment(random, &there.tuple, exit, icmp));
        }
        [there, back]
    }

    /// What comes back, and is brought back.
    fn back(&self) -> Self {
        let treatment = &self.treatment;
        let left = Outcome {
            exit: treatment.exit,
            ethernet: treatment.ethernet.unwrap_or(self.ethernet),
            hops: treatment.hops,
            source: treatment.source.clone().unwrap_or_else(|| self.tuple.source.clone()),
            destination: treatment.destination.clone().unwrap_or_else(|| self.tuple.destination.clone()),
            tag: treatment.tag,
            mark: 0,
            priority: 0,
        };
        let turned = |ethernet: [u8; 12]| -> [u8; 12] {
            frame_of(ethernet[6..].try_into().expect("six"), ethernet[..6].try_into().expect("six"))
        };
        let tuple = left.back(&self.tuple);
        let query = match self.query {
            8 if !self.v6 => 0,
            request => request + 1,
        };
        let brought = |from: &Option<End>, to: &End| from.as_ref().map(|_| to.clone());
        let treatment = Treatment {
            exit: self.tuple.edge,
            ethernet: treatment.ethernet.map(|_| turned(self.ethernet)),
            hops: treatment.hops,
            source: brought(&treatment.destination, &self.tuple.destination),
            destination: brought(&treatment.source, &self.tuple.source),
            tag: self.tuple.tag,
            mark: treatment.mark,
            priority: treatment.priority,
        };
        Self { tuple, ethernet: turned(left.ethernet), query, treatment, floods: false, ..self.clone() }
    }

    /// The host does something else from now on.
    pub fn change(&mut self, random: &mut Random, edges: &[u32]) {
        let (exit, icmp) = (random.pick(edges), if self.v6 { 58 } else { 1 });
        self.treatment = if random.once_in(3) {
            // The next hop alone has another address.
            let ethernet = frame_of(mac(random), mac(random));
            Treatment { ethernet: Some(ethernet), ..self.treatment.clone() }
        } else {
            treatment(random, &self.tuple, exit, icmp)
        };
    }

    /// What the host does to the next packet.
    pub fn treat(&self, random: &mut Random) -> &Treatment {
        match &self.other {
            Some(other) if random.once_in(2) => other,
            _ => &self.treatment,
        }
    }

    /// A packet of it, without anything special.
    pub fn packet(&self, random: &mut Random) -> Vec<u8> {
        let length = match random.below(16) {
            0 => random.below(20),
            1 | 2 => 600 + random.below(860),
            _ => 12 + random.below(80),
        };
        let payload = random.bytes(length);
        let mut frame = self.ethernet.to_vec();
        let header = self.transport(random, length);
        let length = (header.len() + payload.len()) as u16;
        let ecn = random.below(3) as u8;
        let ttl = if random.once_in(16) { random.pick(&[63, 128, 9]) } else { self.life };
        if self.v6 {
            let [a, b] = (u16::from(self.service | ecn) << 4 | 0x6000).to_be_bytes();
            frame.extend([0x86, 0xdd, a, b | random.byte() & 0xf, random.byte(), random.byte()]);
            frame.extend(length.to_be_bytes());
            frame.extend([self.tuple.protocol, ttl]);
        } else {
            frame.extend([8, 0, 0x45, self.service | ecn]);
            frame.extend((length + 20).to_be_bytes());
            frame.extend([random.byte(), random.byte(), random.pick(&[0, 0x40]), 0, ttl]);
            frame.extend([self.tuple.protocol, 0, 0]);
        }
        frame.extend(&self.tuple.source.0);
        frame.extend(&self.tuple.destination.0);
        frame.extend(header);
        frame.extend(payload);
        super::plain::mend_header(&mut frame);
        if let Some(plain) = Plain::of(&frame, false)
            && !(self.unsummed && plain.protocol == UDP)
        {
            plain.mend(&mut frame);
        }
        frame
    }

    fn transport(&self, random: &mut Random, payload: usize) -> Vec<u8> {
        let (source, destination) = (self.tuple.source.1, self.tuple.destination.1);
        let mut header = Vec::new();
        match self.tuple.protocol {
            TCP => {
                header.resize(if random.once_in(2) { 32 } else { 20 }, 1);
                put(&mut header, 0, source);
                put(&mut header, 2, destination);
                header[4..12].copy_from_slice(&random.bytes(8));
                header[12] = (header.len() as u8 / 4) << 4;
                header[13] = random.pick(&[ACK, ACK | PUSH]);
                header[14..16].copy_from_slice(&random.bytes(2));
                header[16..20].fill(0);
            }
            UDP => {
                header.resize(8, 0);
                put(&mut header, 0, source);
                put(&mut header, 2, destination);
                put(&mut header, 4, 8 + payload as u16);
            }
            protocol if protocol == if self.v6 { 58 } else { 1 } => {
                header = vec![self.query, 0, 0, 0, 0, 0, random.byte(), random.byte()];
                put(&mut header, 4, if self.tuple.reply { destination } else { source });
            }
            _ => header = random.bytes(12),
        }
        header
    }
}

/// What a host may do to packets of this tuple which leave by a device.
fn treatment(random: &mut Random, tuple: &Tuple, exit: u32, icmp: u8) -> Treatment {
    let v6 = tuple.source.0.len() == 16;
    let mut treatment = Treatment {
        exit,
        ethernet: None,
        hops: 0,
        source: None,
        destination: None,
        tag: if random.once_in(2) { tuple.tag } else { tag(random) },
        mark: if random.once_in(4) { random.word() as u32 } else { 0 },
        priority: if random.once_in(4) { random.word() as u32 } else { 0 },
    };
    if random.once_in(3) {
        return treatment;
    }
    treatment.ethernet = Some(frame_of(mac(random), mac(random)));
    treatment.hops = random.pick(&[1, 1, 2, 5]);
    let end = |random: &mut Random, old: &End, is_id: bool| {
        let has_port = matches!(tuple.protocol, TCP | UDP) || tuple.protocol == icmp && is_id;
        let port = if has_port && random.once_in(2) { random.short() } else { old.1 };
        let moves = port == old.1 || !random.once_in(8);
        let address = if moves { address(random, v6) } else { old.0.clone() };
        Some((address, port))
    };
    match random.below(6) {
        0 | 1 => treatment.source = end(random, &tuple.source, !tuple.reply),
        2 => treatment.destination = end(random, &tuple.destination, tuple.reply),
        3 => {
            treatment.source = end(random, &tuple.source, !tuple.reply);
            treatment.destination = end(random, &tuple.destination, tuple.reply);
        }
        _ => {}
    }
    treatment
}
