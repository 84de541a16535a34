//! Packets of SCTP that conntrack takes: its checksum is over all of the packet.

use crate::object::{End, Packet};

pub const PROTOCOL: u8 = 132;

/// An INIT chunk, the first of an association.
pub fn init(source: End, destination: End) -> Packet {
    let mut bytes = [source.1.to_be_bytes(), destination.1.to_be_bytes()].concat();
    // No verification tag yet; room for the checksum.
    bytes.extend([0; 8]);
    // Length 20, a tag, a window, one stream each way, a sequence number.
    bytes.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let sum = crc32c(&bytes).to_le_bytes();
    bytes[8..12].copy_from_slice(&sum);
    Packet::other(PROTOCOL, source.0, destination.0).payload(bytes)
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc: u32, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value_of_crc32c() {
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
    }
}
