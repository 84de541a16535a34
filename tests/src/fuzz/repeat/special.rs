//! Packets that are not like the others of their conversation.

use super::plain::{IP, Plain, TCP, half, mend_header, put};
use crate::fuzz::damage::damage;
use crate::random::Random;

/// One packet in four gets something special. Says what.
pub fn dress(random: &mut Random, frame: &mut Vec<u8>) -> &'static str {
    if !random.once_in(4) {
        return "plain";
    }
    let Some(plain) = Plain::of(frame, false) else { return "not plain to begin with" };
    let v6 = plain.v6;
    match random.below(20) {
        0 | 1 if plain.protocol == TCP => {
            frame[plain.body + 13] = random.pick(&[2, 0x12, 0x11, 4, 0x14, 3, 0]);
            plain.mend(frame);
            "SYN, FIN, RST or odd flags"
        }
        2 if !v6 => {
            let field = random.pick(&[0x2000, 0x2005, 0x0005, 0x8000]);
            put(frame, IP + 6, field);
            mend_header(frame);
            "a fragment, or a reserved flag"
        }
        2 => {
            let next = std::mem::replace(&mut frame[IP + 6], 44);
            frame.splice(IP + 40..IP + 40, [next, 0, 0, 1, 1, 2, 3, 4]);
            let length = half(frame, IP + 4) + 8;
            put(frame, IP + 4, length);
            "a fragment"
        }
        3 if !v6 => {
            frame[IP] = 0x46;
            frame.splice(IP + 20..IP + 20, [1; 4]);
            let length = half(frame, IP + 2) + 4;
            put(frame, IP + 2, length);
            mend_header(frame);
            "options"
        }
        4 if !v6 => {
            frame[IP + 10] ^= 1 << random.below(8);
            "a wrong header checksum"
        }
        5 | 6 => {
            if let Some(at) = plain.checksum() {
                let sum = random.pick(&[half(frame, at) ^ 0x1000, 0xffff, 0, 1]);
                put(frame, at, sum);
            }
            "a wrong checksum"
        }
        7 => {
            frame[IP + if v6 { 7 } else { 8 }] = random.pick(&[0, 1, 2, 3]);
            mend_header(frame);
            "a short time to live"
        }
        8 => {
            if v6 {
                frame[IP] ^= 0x08;
            } else {
                frame[IP + 1] ^= 0x40;
                mend_header(frame);
            }
            "another class of service"
        }
        9 => {
            let at = random.pick(&[1, 5, 7, 11]);
            frame[at] ^= 0x10;
            "another machine's frame"
        }
        10 => {
            frame[0] |= 1;
            "to a group on the link"
        }
        11 => {
            frame.splice(12..12, [0x81, 0, 0, 7]);
            "a tag in the frame"
        }
        12 | 13 => {
            let more = 60_usize.saturating_sub(frame.len());
            frame.extend(random.bytes(more));
            "filled up"
        }
        14 => {
            let more = 1 + random.below(90);
            frame.extend(random.bytes(more));
            "bytes behind the packet"
        }
        15 => {
            // An ICMP error, or anything.
            frame[plain.body] = random.byte();
            plain.mend(frame);
            "another first byte"
        }
        16 | 17 => damage(random, frame).unwrap_or("not damaged"),
        _ => "plain after all",
    }
}
