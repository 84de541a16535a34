//! Values in attributes: numbers are in network byte order.

use crate::netlink::message::attribute;

/// `NFTA_DATA_VALUE`
const VALUE: u16 = 1;

pub fn number(attributes: &[u8], which: u16) -> Option<u32> {
    Some(u32::from_be_bytes(*attribute(attributes, which)?.first_chunk()?))
}

pub fn long(attributes: &[u8], which: u16) -> Option<u64> {
    Some(u64::from_be_bytes(*attribute(attributes, which)?.first_chunk()?))
}

pub fn text(attributes: &[u8], which: u16) -> Option<String> {
    let bytes = attribute(attributes, which)?.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// What a register is compared with.
pub fn value(attributes: &[u8], which: u16) -> Option<&[u8]> {
    attribute(attribute(attributes, which)?, VALUE)
}

/// The number that up to four bytes are, as they are in a packet.
pub fn in_packet(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// The number that a register of this host has.
pub fn in_host(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or_else(|| bytes.first().copied().map_or(0, u32::from), |word| u32::from_ne_bytes(*word))
}
