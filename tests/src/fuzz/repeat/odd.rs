//! What else hosts do to packets, which no path can say.

use super::plain::{IP, Plain, TCP, UDP, half, mend_header, put};
use crate::random::Random;

/// What is done to a packet besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Odd {
    Service,
    Congestion,
    Number,
    Fragmentation,
    Query,
    Contents,
    Longer,
    Shorter,
    Protocol,
    Options,
    Raised,
    Group,
    Tunnel,
    Tag,
}

const ALL: [Odd; 14] = [
    Odd::Service,
    Odd::Congestion,
    Odd::Number,
    Odd::Fragmentation,
    Odd::Query,
    Odd::Contents,
    Odd::Longer,
    Odd::Shorter,
    Odd::Protocol,
    Odd::Options,
    Odd::Raised,
    Odd::Group,
    Odd::Tunnel,
    Odd::Tag,
];

impl Odd {
    pub fn any(random: &mut Random) -> Self {
        random.pick(&ALL)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "another class of service",
            Self::Congestion => "marked as congested",
            Self::Number => "another identification or flow label",
            Self::Fragmentation => "another flag \"don't fragment\"",
            Self::Query => "another code or sequence number of a query",
            Self::Contents => "other contents",
            Self::Longer => "longer",
            Self::Shorter => "shorter",
            Self::Protocol => "another protocol",
            Self::Options => "options put in",
            Self::Raised => "a longer time to live",
            Self::Group => "to a group on the link",
            Self::Tunnel => "in another packet",
            Self::Tag => "with a tag in the frame",
        }
    }

    /// Does it to a frame that leaves, made of `before`. False: it cannot be done to this one.
    pub fn apply(self, before: &[u8], plain: &Plain, frame: &mut Vec<u8>) -> bool {
        let v6 = plain.v6;
        match self {
            Self::Service if v6 => frame[IP] ^= 0x08,
            Self::Service => frame[IP + 1] ^= 0x80,
            Self::Congestion if v6 => frame[IP + 1] ^= 0x10,
            Self::Congestion => frame[IP + 1] ^= 0x01,
            Self::Number if v6 => frame[IP + 3] ^= 0x55,
            Self::Number => frame[IP + 4] ^= 0x55,
            Self::Fragmentation if v6 => return false,
            Self::Fragmentation => frame[IP + 6] ^= 0x40,
            Self::Query if plain.protocol != plain.icmp() => return false,
            // As it happens, the code or the sequence number.
            Self::Query if before[plain.body + 7] & 1 == 0 => frame[plain.body + 1] ^= 1,
            Self::Query => frame[plain.body + 7] ^= 0x55,
            Self::Contents if plain.protocol == TCP => frame[plain.body + 5] ^= 0x77,
            Self::Contents if plain.end >= plain.body + 20 => frame[plain.body + 13] ^= 0x77,
            Self::Contents => return false,
            Self::Longer => {
                frame.truncate(plain.end);
                frame.extend([1, 2, 3, 4]);
                lengths(frame, plain, 4);
            }
            Self::Shorter => {
                if plain.end < plain.body + 30 {
                    return false;
                }
                frame.truncate(plain.end - 2);
                lengths(frame, plain, -2);
            }
            Self::Protocol => {
                frame[IP + if v6 { 6 } else { 9 }] = if plain.protocol == 254 { 253 } else { 254 }
            }
            Self::Options if v6 => {
                // Hop-by-hop options, one that fills six bytes.
                let next = std::mem::replace(&mut frame[IP + 6], 0);
                frame.splice(IP + 40..IP + 40, [next, 0, 1, 4, 0, 0, 0, 0]);
                let length = half(frame, IP + 4) + 8;
                put(frame, IP + 4, length);
            }
            Self::Options => {
                frame[IP] = 0x46;
                frame.splice(IP + 20..IP + 20, [1; 4]);
                let length = half(frame, IP + 2) + 4;
                put(frame, IP + 2, length);
            }
            Self::Raised => {
                let at = IP + if v6 { 7 } else { 8 };
                if before[at] == u8::MAX {
                    return false;
                }
                frame[at] = before[at] + 1;
            }
            Self::Group => frame[0] |= 1,
            Self::Tunnel => {
                frame.truncate(plain.end);
                let length = (frame.len() - IP + 20) as u16;
                let protocol = if v6 { 41 } else { 4 };
                let [a, b] = length.to_be_bytes();
                let outer = [0x45, 0, a, b, 1, 2, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
                frame.splice(IP..IP, outer);
                frame[12..14].copy_from_slice(&[8, 0]);
            }
            Self::Tag => {
                frame.splice(12..12, [0x81, 0, 0, 9]);
            }
        }
        mend(frame, plain);
        true
    }
}

fn lengths(frame: &mut [u8], plain: &Plain, by: i16) {
    let at = IP + if plain.v6 { 4 } else { 2 };
    let length = half(frame, at).wrapping_add_signed(by);
    put(frame, at, length);
    if plain.protocol == UDP {
        let length = half(frame, plain.body + 4).wrapping_add_signed(by);
        put(frame, plain.body + 4, length);
    }
}

/// Whoever does such a thing leaves right checksums.
fn mend(frame: &mut [u8], before: &Plain) {
    mend_header(frame);
    if let Some(plain) = Plain::of(frame, false).filter(|plain| plain.protocol == before.protocol) {
        plain.mend(frame);
    }
}
