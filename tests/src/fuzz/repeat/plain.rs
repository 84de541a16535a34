//! Frames with nothing special about them, the only ones that may be repeated: read without natbpf's code.

use etherparse::checksum::Sum16BitWords;

/// Length of the segments that a packet is cut into which stands for several.
pub const SEGMENT: usize = 1000;

/// Ethernet fills up shorter frames.
const SHORTEST: usize = 60;

pub const IP: usize = 14;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const GRE: u8 = 47;
pub const ESP: u8 = 50;
pub const SCTP: u8 = 132;

/// SYN, FIN and RST.
const BEGINS_OR_ENDS: u8 = 0x07;

/// What the packets of a path have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Index of the device by which they come in.
    pub edge: u32,
    /// With which tag beside the frame.
    pub tag: u32,
    pub source: End,
    pub destination: End,
    pub protocol: u8,
    /// Answers to ICMP queries.
    pub reply: bool,
}

/// An address of either family, and a port. An ICMP query has its identifier as the port of the end that asks, and the
/// type of the request as the other.
pub type End = (Vec<u8>, u16);

/// A packet.
#[derive(Clone, Debug)]
pub struct Plain {
    pub v6: bool,
    pub protocol: u8,
    /// Time to live.
    pub hops: u8,
    /// Type of service, traffic class.
    pub service: u8,
    pub source: End,
    pub destination: End,
    /// Where the transport header is, and where the packet ends.
    pub body: usize,
    pub end: usize,
    /// Of a segment.
    pub flags: u8,
    /// An ICMP query's answer.
    pub reply: bool,
    /// No ICMP message, or a query or the answer to one.
    pub asks: bool,
}

pub fn half(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

pub fn put(frame: &mut [u8], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// One's complement has two zeros.
fn is_zero(sum: Sum16BitWords) -> bool {
    matches!(sum.ones_complement(), 0 | 0xffff)
}

impl Plain {
    /// `None`: there is something about it, or something is wrong with it. `segments`: it stands for several.
    pub fn of(frame: &[u8], segments: bool) -> Option<Self> {
        let v6 = match frame.get(12..14)? {
            [8, 0] => false,
            [0x86, 0xdd] => true,
            _ => return None,
        };
        let body = IP + if v6 { 40 } else { 20 };
        if frame.len() < body {
            return None;
        }
        let (length, protocol, hops) =
            if v6 { (half(frame, IP + 4), frame[IP + 6], frame[IP + 7]) } else { Self::v4(frame)? };
        if v6 && (frame[IP] >> 4 != 6 || matches!(protocol, 0 | 43 | 44 | 51 | 60)) {
            return None;
        }
        let first = if v6 { body } else { IP };
        let end = if length == 0 && segments { frame.len() } else { first + usize::from(length) };
        if end < body || end > frame.len() || end < frame.len() && frame.len() > SHORTEST {
            return None;
        }
        let size = if v6 { 16 } else { 4 };
        let at = IP + if v6 { 8 } else { 12 };
        let address = |at: usize| (frame[at..at + size].to_vec(), 0);
        let mut plain = Self {
            v6,
            protocol,
            hops,
            service: if v6 { (half(frame, IP) >> 4) as u8 } else { frame[IP + 1] },
            source: address(at),
            destination: address(at + size),
            body,
            end,
            flags: 0,
            reply: false,
            asks: true,
        };
        plain.transport(&frame[body..end])?;
        Some(plain)
    }

    fn v4(frame: &[u8]) -> Option<(u16, u8, u8)> {
        let is_right = is_zero(Sum16BitWords::new().add_slice(&frame[IP..IP + 20]));
        let sound = frame[IP] == 0x45 && half(frame, IP + 6) & 0x3fff == 0 && is_right;
        sound.then(|| (half(frame, IP + 2), frame[IP + 9], frame[IP + 8]))
    }

    fn transport(&mut self, body: &[u8]) -> Option<()> {
        let ports = |body: &[u8]| (half(body, 0), half(body, 2));
        match self.protocol {
            TCP => {
                let header = usize::from(*body.get(12)? >> 4) * 4;
                self.flags = *body.get(13)?;
                (self.source.1, self.destination.1) = ports(body);
                (header >= 20 && header <= body.len()).then_some(())
            }
            UDP => {
                let length = usize::from(half(body.get(..8)?, 4));
                (self.source.1, self.destination.1) = ports(body);
                (length >= 8 && length <= body.len()).then_some(())
            }
            icmp if icmp == self.icmp() => {
                let kind = body.get(..8)?[0];
                let id = half(body, 4);
                let (request, reply) = match (self.v6, kind) {
                    (false, 8 | 13 | 15 | 17) | (true, 128) => (kind, false),
                    (false, 0) => (8, true),
                    (false, 14 | 16 | 18) | (true, 129) => (kind - 1, true),
                    _ => {
                        self.asks = false;
                        return Some(());
                    }
                };
                let ends = (id, u16::from(request));
                (self.source.1, self.destination.1) = if reply { (ends.1, ends.0) } else { ends };
                self.reply = reply;
                Some(())
            }
            _ => Some(()),
        }
    }

    pub fn icmp(&self) -> u8 {
        if self.v6 { 58 } else { 1 }
    }

    /// Whether it begins or ends a connection.
    pub fn begins_or_ends(&self) -> bool {
        self.protocol == TCP && self.flags & BEGINS_OR_ENDS != 0
    }

    /// The kernel has to see all others.
    pub fn may_be_repeated(&self, frame: &[u8]) -> bool {
        let first = self.destination.0[0];
        let for_many = if self.v6 { first == 0xff } else { first >= 224 };
        self.asks && !self.begins_or_ends() && !for_many && frame[0] & 1 == 0
    }

    pub fn tuple(&self, edge: u32, tag: u32) -> Tuple {
        Tuple {
            edge,
            tag,
            source: self.source.clone(),
            destination: self.destination.clone(),
            protocol: self.protocol,
            reply: self.reply,
        }
    }

    /// Length of the IP packet, or of the longest that is cut from it.
    pub fn size(&self, frame: &[u8], segments: bool) -> usize {
        let header = match self.protocol {
            TCP => usize::from(frame[self.body + 12] >> 4) * 4,
            UDP => 8,
            _ => usize::from(u16::MAX),
        };
        if segments { self.body - IP + header + SEGMENT } else { self.end - IP }
    }

    /// Where the checksum of what it carries is.
    pub fn checksum(&self) -> Option<usize> {
        let at = match self.protocol {
            TCP => 16,
            UDP => 6,
            icmp if icmp == self.icmp() => 2,
            _ => return None,
        };
        Some(self.body + at)
    }

    /// Whether that covers the addresses.
    pub fn covers_addresses(&self) -> bool {
        self.v6 || self.protocol != self.icmp()
    }

    /// Whether the checksum of what it carries is right, computed anew; `None`: there is none.
    pub fn is_right(&self, frame: &[u8]) -> Option<bool> {
        let at = self.checksum()?;
        if self.protocol == UDP && half(frame, at) == 0 {
            return None;
        }
        Some(is_zero(self.covered(frame)))
    }

    /// Over all that the checksum covers, itself included.
    fn covered(&self, frame: &[u8]) -> Sum16BitWords {
        let length =
            if self.protocol == UDP { usize::from(half(frame, self.body + 4)) } else { self.end - self.body };
        let sum = Sum16BitWords::new().add_slice(&frame[self.body..self.body + length]);
        if !self.covers_addresses() {
            return sum;
        }
        let addresses = if self.v6 { IP + 8..IP + 40 } else { IP + 12..IP + 20 };
        let length = (length as u16).to_be_bytes();
        sum.add_slice(&frame[addresses]).add_2bytes([0, self.protocol]).add_2bytes(length)
    }

    /// Makes both checksums right.
    pub fn mend(&self, frame: &mut [u8]) {
        mend_header(frame);
        let Some(at) = self.checksum() else { return };
        frame[at..at + 2].fill(0);
        let sum = self.covered(frame);
        let sum =
            if self.protocol == UDP { sum.to_ones_complement_with_no_zero() } else { sum.ones_complement() };
        frame[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
    }

    /// What tells packets apart that are otherwise of one length and time to live.
    pub fn identity(&self, frame: &[u8]) -> Vec<u8> {
        let from = self.body + if self.protocol == TCP { 4 } else { 8 };
        let bytes = frame[from.min(self.end)..(from + 12).min(self.end)].to_vec();
        let number = if self.v6 { half(frame, IP + 2) } else { half(frame, IP + 4) };
        [&[self.protocol, self.service, (self.end - IP) as u8][..], &number.to_be_bytes(), &bytes].concat()
    }
}

/// Makes the checksum of an IPv4 header without options right.
pub fn mend_header(frame: &mut [u8]) {
    if frame[12..14] == [8, 0] {
        let length = usize::from(frame[IP] & 0xf) * 4;
        frame[IP + 10..IP + 12].fill(0);
        let sum = Sum16BitWords::new().add_slice(&frame[IP..IP + length]).ones_complement();
        frame[IP + 10..IP + 12].copy_from_slice(&sum.to_ne_bytes());
    }
}
