//! Checksums computed anew, and fields of a packet by offset.

use etherparse::checksum::Sum16BitWords;
use natbpf_common::wire::protocol::{TCP, UDP};

/// Two bytes as a native integer, as natbpf keeps checksums and ports.
pub fn half(bytes: &[u8], at: u32) -> u16 {
    u16::from_ne_bytes([bytes[at as usize], bytes[at as usize + 1]])
}

pub fn put<const LENGTH: usize>(bytes: &mut [u8], at: u32, value: [u8; LENGTH]) {
    bytes[at as usize..at as usize + LENGTH].copy_from_slice(&value);
}

/// Whether the checksum is right in what it covers, itself included.
pub fn is_right(covered: &[u8]) -> bool {
    is_zero(Sum16BitWords::new().add_slice(covered))
}

/// One's complement has two zeros, and the sum of nothing but zeros is the other one.
fn is_zero(sum: Sum16BitWords) -> bool {
    matches!(sum.ones_complement(), 0 | 0xffff)
}

/// The checksum that belongs to an IPv4 header.
pub fn of_header(header: &[u8]) -> u16 {
    Sum16BitWords::new().add_slice(&header[..10]).add_slice(&header[12..]).ones_complement()
}

/// Whether the transport checksum of a whole packet is right; `None` where it has none that is looked at here. UDP's
/// is none where the field is 0.
pub fn transport_is_right(header: &[u8], body: &[u8]) -> Option<bool> {
    let at = match header[9] {
        TCP => 16,
        UDP => 6,
        1 => return Some(is_right(body)),
        _ => return None,
    };
    if header[9] == UDP && half(body, at) == 0 {
        return None;
    }
    let length = (body.len() as u16).to_be_bytes();
    let sum = Sum16BitWords::new().add_slice(&header[12..20]).add_2bytes([0, header[9]]).add_2bytes(length);
    Some(is_zero(sum.add_slice(body)))
}

/// Whether two checksums say the same: one's complement has two zeros.
pub fn same(one: u16, other: u16) -> bool {
    let zero = |sum| sum == 0 || sum == 0xffff;
    one == other || zero(one) && zero(other)
}

/// Whether two packets are the same but for checksums at these offsets, which say the same.
#[track_caller]
pub fn assert_same(one: &[u8], other: &[u8], checksums: &[u32]) {
    let (mut one, mut other) = (one.to_vec(), other.to_vec());
    for at in checksums.iter().copied().filter(|at| *at != 0) {
        assert!(same(half(&one, at), half(&other, at)), "the checksum at {at} is another one");
        put(&mut one, at, [0; 2]);
        put(&mut other, at, [0; 2]);
    }
    assert_eq!(one, other, "bytes of the packet");
}
