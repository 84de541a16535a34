//! What a station sends: packets of one flow, each with a mark of its own.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use super::station::Station;
use crate::netns::link::Link;
use crate::object::{End, Packet};

/// Protocols of tags: a customer's (802.1Q) and a provider's (802.1ad).
pub const CUSTOMER: u16 = 0x8100;
pub const PROVIDER: u16 = 0x88a8;

const ALL: Link = [0xff; 6];

/// Of payload, if not said otherwise.
const LENGTH: usize = 64;

/// Bytes of both addresses.
const ADDRESSES: usize = 12;

/// A frame, and the number in its payload by which its copies are known.
#[derive(Clone, Debug)]
pub struct Marked {
    pub bytes: Vec<u8>,
    pub mark: Mark,
}

/// Stands in the payload.
pub type Mark = [u8; 16];

/// What every mark begins with.
const MARK: &[u8; 8] = b"packet  ";

impl Marked {
    /// Whether these bytes are a copy.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        Self::mark_of(bytes) == Some(self.mark)
    }

    /// The mark of a frame that has one.
    pub fn mark_of(bytes: &[u8]) -> Option<Mark> {
        let at = bytes.windows(MARK.len()).position(|part| part == MARK)?;
        bytes.get(at..at + size_of::<Mark>())?.try_into().ok()
    }
}

/// UDP from a station, to a port and an address that no stack has.
#[derive(Clone, Debug)]
pub struct Flow<'a> {
    pub station: &'a Station,
    from: Link,
    to: Link,
    source: End,
    destination: End,
    /// Protocol and TCI, the outer one first.
    tags: Vec<(u16, u16)>,
    length: usize,
}

impl<'a> Flow<'a> {
    pub fn new(from: &'a Station, to: &Station) -> Self {
        let address = |station: &Station| Ipv4Addr::new(10, 0, 0, station.number);
        Self {
            station: from,
            from: from.link,
            to: to.link,
            source: (address(from), 5000),
            destination: (address(to), 9000),
            tags: Vec::new(),
            length: LENGTH,
        }
    }

    /// A broadcast.
    pub fn to_all(from: &'a Station) -> Self {
        Self::new(from, from).to(ALL)
    }

    /// The same packets to another machine.
    pub fn to(self, to: Link) -> Self {
        Self { to, ..self }
    }

    /// The same packets in another machine's name.
    pub fn from(self, from: Link) -> Self {
        Self { from, ..self }
    }

    /// From another port of UDP, so of another flow.
    pub fn port(mut self, port: u16) -> Self {
        self.source.1 = port;
        self
    }

    /// The same packets sent by another station.
    pub fn at(self, station: &'a Station) -> Self {
        Self { station, ..self }
    }

    /// With this tag around it, of a customer.
    pub fn tagged(self, tci: u16) -> Self {
        self.within(CUSTOMER, tci)
    }

    /// With this tag around it.
    pub fn within(mut self, protocol: u16, tci: u16) -> Self {
        self.tags.insert(0, (protocol, tci));
        self
    }

    /// So long a frame, without tags.
    pub fn length(self, frame: usize) -> Self {
        const HEADERS: usize = 14 + 20 + 8;
        Self { length: frame - HEADERS, ..self }
    }

    /// The next packet.
    pub fn frame(&self) -> Marked {
        self.frame_of(|packet| packet)
    }

    /// The next packet, changed.
    pub fn frame_of(&self, change: impl FnOnce(Packet) -> Packet) -> Marked {
        let mark = mark();
        let mut payload = mark.to_vec();
        payload.resize(self.length.max(mark.len()), b'.');
        let packet = change(Packet::udp(self.source, self.destination).payload(payload));
        Marked { bytes: self.ethernet(&packet.bytes()[ADDRESSES..]), mark }
    }

    /// A frame with `rest`, which begins with its type, and the mark behind it.
    pub fn other(&self, rest: &[u8]) -> Marked {
        let mark = mark();
        Marked { bytes: self.ethernet(&[rest, &mark].concat()), mark }
    }

    fn ethernet(&self, rest: &[u8]) -> Vec<u8> {
        let words = self.tags.iter().flat_map(|(protocol, tci)| [*protocol, *tci]);
        let tags: Vec<_> = words.flat_map(u16::to_be_bytes).collect();
        [&self.to[..], &self.from, &tags, rest].concat()
    }

    /// Sends the next packet, whoever hears it.
    pub fn send(&self) -> Result<()> {
        self.station.wire.send_frame(&self.frame().bytes)
    }
}

/// Never the same twice.
fn mark() -> Mark {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut mark = Mark::default();
    mark[..MARK.len()].copy_from_slice(MARK);
    mark[MARK.len()..].copy_from_slice(&number.to_be_bytes());
    mark
}
