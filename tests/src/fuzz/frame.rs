//! A frame, read without natbpf's code.

use std::net::Ipv4Addr;

use etherparse::checksum::Sum16BitWords;

use crate::object::End;

/// An IPv4 header in a frame, as far as it can be told where things are.
#[derive(Clone, Copy, Debug)]
pub struct Ip {
    /// Offset of the header.
    pub at: usize,
    /// Offset of what follows it.
    pub body: usize,
    /// Where it ends by its own word, within the frame.
    pub end: usize,
    pub protocol: u8,
    /// In units of 8 bytes.
    pub offset: u16,
    pub more: bool,
}

/// Where the IPv4 header is behind at most two tags; nothing in it is believed.
pub fn network(frame: &[u8]) -> Option<usize> {
    let mut at = 12;
    for _ in 0..2 {
        if matches!(frame.get(at..at + 2)?, [0x81, 0] | [0x88, 0xa8]) {
            at += 4;
        }
    }
    (frame.get(at..at + 2)? == [8, 0] && frame.len() >= at + 22).then_some(at + 2)
}

/// Whether the total length of the IPv4 header is not 0.
pub fn has_length(frame: &[u8]) -> bool {
    network(frame).is_some_and(|at| frame[at + 2..at + 4] != [0, 0])
}

pub fn address(frame: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3])
}

/// Whether the sum over all that a checksum covers, itself included, is zero. One's complement has two zeros, and the
/// sum of nothing but zeros is the other one.
fn is_zero(sum: Sum16BitWords) -> bool {
    matches!(sum.ones_complement(), 0 | 0xffff)
}

pub fn half(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]))
}

impl Ip {
    /// The packet of a frame. `None`: there is no sound IPv4 header.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let ip = Self::at(frame, network(frame)?)?;
        let total = usize::from(half(frame, ip.at + 2)?);
        (ip.at + total <= frame.len()).then_some(ip)
    }

    fn at(frame: &[u8], at: usize) -> Option<Self> {
        let first = *frame.get(at)?;
        let header = usize::from(first & 0xf) * 4;
        let total = usize::from(half(frame, at + 2)?);
        let field = half(frame, at + 6)?;
        let sound = first >> 4 == 4 && header >= 20 && total >= header && frame.len() >= at + header;
        sound.then(|| Self {
            at,
            body: at + header,
            end: (at + total).min(frame.len()),
            protocol: frame[at + 9],
            offset: field & 0x1fff,
            more: field & 0x2000 != 0,
        })
    }

    pub fn source(&self, frame: &[u8]) -> Ipv4Addr {
        address(frame, self.at + 12)
    }

    pub fn destination(&self, frame: &[u8]) -> Ipv4Addr {
        address(frame, self.at + 16)
    }

    /// Address and port of one end; an ICMP message's identifier, 0 where there is none.
    pub fn end(&self, frame: &[u8], destination: bool) -> End {
        let [_, port] = self.transport_fields(frame, destination);
        let address = if destination { self.destination(frame) } else { self.source(frame) };
        (address, port.and_then(|at| half(frame, at)).unwrap_or_default())
    }

    pub fn is_whole(&self) -> bool {
        self.offset == 0 && !self.more
    }

    /// The packet that an ICMP error quotes, as much as there is of it.
    pub fn quote(&self, frame: &[u8]) -> Option<Self> {
        let is_error =
            self.protocol == 1 && self.is_whole() && matches!(frame.get(self.body)?, 3 | 4 | 5 | 11 | 12);
        if !is_error || self.end < self.body + 8 {
            return None;
        }
        Self::at(&frame[..self.end], self.body + 8)
    }

    pub fn header_is_right(&self, frame: &[u8]) -> bool {
        is_zero(Sum16BitWords::new().add_slice(&frame[self.at..self.body]))
    }

    /// `None`: there is none, or not all of what it covers is there.
    pub fn transport_is_right(&self, frame: &[u8]) -> Option<bool> {
        let total = usize::from(half(frame, self.at + 2)?);
        if !self.is_whole() || self.at + total > frame.len() {
            return None;
        }
        let body = frame.get(self.body..self.at + total)?;
        let sum = match self.protocol {
            1 if body.len() >= 8 => Sum16BitWords::new(),
            17 if body.len() >= 8 && body[6..8] == [0, 0] => return None,
            17 | 33 | 136 if body.len() >= 8 => self.pseudo(frame, body.len()),
            6 if body.len() >= 20 => self.pseudo(frame, body.len()),
            _ => return None,
        };
        Some(is_zero(sum.add_slice(body)))
    }

    fn pseudo(&self, frame: &[u8], length: usize) -> Sum16BitWords {
        let sum = Sum16BitWords::new().add_slice(&frame[self.at + 12..self.at + 20]);
        sum.add_2bytes([0, self.protocol]).add_2bytes((length as u16).to_be_bytes())
    }

    /// Offsets of the two bytes of the transport checksum and of the port (or identifier) of one end.
    pub fn transport_fields(&self, frame: &[u8], destination: bool) -> [Option<usize>; 2] {
        let side = if destination { 2 } else { 0 };
        let (sum, port) = match self.protocol {
            _ if self.offset > 0 => (None, None),
            6 => (Some(16), Some(side)),
            17 => (Some(6), Some(side)),
            1 if self.quote(frame).is_some() => (Some(2), None),
            1 => (Some(2), Some(4)),
            33 | 136 => (Some(6), None),
            _ => (None, None),
        };
        [sum, port].map(|at| at.map(|at| self.body + at))
    }
}
