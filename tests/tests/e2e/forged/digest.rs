//! A digest of 15 bits that natbpf once knew frames by. Nothing in it is secret, so anybody can find a frame
//! with the digest of another one; frames that have been found so have to be strangers to whatever natbpf
//! knows them by today.

use anyhow::{Context, Result};
use lab::netns::link::Link;

/// The digest of a frame that comes in by the interface with this index.
pub fn of(interface: u32, to: Link, from: Link) -> u16 {
    let ethernet = [to, from].concat();
    let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|byte| ethernet[at + byte]));
    let digest = mix(mix(0, word(0), word(4)), word(8), interface) as u32;
    (digest >> 16) as u16 ^ digest as u16 | 0x8000
}

fn mix(hash: u64, low: u32, high: u32) -> u64 {
    let mixed = (hash ^ (u64::from(low) | u64::from(high) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

/// The first of many addresses that makes the frame one with this digest.
pub fn find(wanted: u16, digest: impl Fn(Link) -> u16) -> Result<Link> {
    (0..1 << 22).map(link).find(|link| digest(*link) == wanted).context("no address has this digest")
}

/// The address of a number.
pub fn link(number: u32) -> Link {
    let [a, b, c, d] = number.to_be_bytes();
    [0x02, 0xaa, a, b, c, d]
}
