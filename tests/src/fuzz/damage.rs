//! What is done to a frame after it was built.

use crate::random::Random;

/// Below this the kernel does not take it for a frame.
const SHORTEST: usize = 15;

/// One frame in eight is damaged. Says how; `None`: it is as it was built.
pub fn damage(random: &mut Random, frame: &mut Vec<u8>) -> Option<&'static str> {
    if !random.once_in(8) {
        return None;
    }
    let length = frame.len();
    Some(match random.below(6) {
        0 => {
            // Mostly within the headers, where it matters.
            let limit = if random.once_in(4) { length } else { length.min(80) };
            for _ in 0..=random.below(3) {
                let at = random.below(limit);
                frame[at] ^= 1 << random.below(8);
            }
            "bits flipped"
        }
        1 => {
            for _ in 0..=random.below(3) {
                let at = 12 + random.below((length - 12).min(70));
                frame[at] = random.byte();
            }
            "bytes changed"
        }
        2 => {
            frame.truncate(SHORTEST + random.below(length.saturating_sub(SHORTEST).max(1)));
            "cut off"
        }
        3 => {
            let more = random.below(40);
            frame.extend(random.bytes(more));
            "padded"
        }
        4 => {
            // A length field somewhere says something else.
            let at = 14 + random.below((length - 15).clamp(1, 40));
            let value = random.pick(&[0_u16, 1, 7, 8, 19, 20, 28, 0x7fff, 0xffff]).to_be_bytes();
            frame[at] = value[0];
            if let Some(next) = frame.get_mut(at + 1) {
                *next = value[1];
            }
            "odd numbers put in"
        }
        _ => {
            let (from, to) =
                (12 + random.below((length - 12).min(60)), 12 + random.below((length - 12).min(60)));
            frame.copy_within(from..(from + 4).min(length), to.min(length - 4));
            "bytes moved"
        }
    })
}
