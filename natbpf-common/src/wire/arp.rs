//! ARP for IPv4 over Ethernet (RFC 826).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An ARP packet, all fields in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
pub struct Arp {
    hardware: u16,
    protocol: u16,
    hardware_length: u8,
    protocol_length: u8,
    operation: u16,
    /// MAC address of the station that asks or answers.
    pub sender_mac: [u8; 6],
    /// Its IPv4 address, in packet order.
    pub sender: [u8; 4],
    /// MAC address that is asked for: zero in a question.
    pub target_mac: [u8; 6],
    /// IPv4 address that is asked for, in packet order.
    pub target: [u8; 4],
}

const ETHERNET: u16 = 1_u16.to_be();
const IPV4: u16 = 0x0800_u16.to_be();
const REQUEST: u16 = 1_u16.to_be();
const REPLY: u16 = 2_u16.to_be();

impl Arp {
    /// Asks who has an address.
    pub const fn request(mac: [u8; 6], sender: [u8; 4], target: [u8; 4]) -> Self {
        Self {
            hardware: ETHERNET,
            protocol: IPV4,
            hardware_length: 6,
            protocol_length: 4,
            operation: REQUEST,
            sender_mac: mac,
            sender,
            target_mac: [0; 6],
            target,
        }
    }

    /// A question by IPv4 over Ethernet.
    #[inline(always)]
    pub const fn is_request(&self) -> bool {
        self.hardware == ETHERNET
            && self.protocol == IPV4
            && self.hardware_length == 6
            && self.protocol_length == 4
            && self.operation == REQUEST
    }

    /// The answer of the host that has the target, under this MAC address.
    #[inline(always)]
    pub const fn answer(&self, mac: [u8; 6]) -> Self {
        Self {
            operation: REPLY,
            sender_mac: mac,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_turns_the_question_round() {
        let question = Arp::request([1; 6], [203, 0, 113, 10], [203, 0, 113, 50]);
        assert!(question.is_request());
        let answer = question.answer([2; 6]);
        assert!(!answer.is_request());
        let bytes =
            [0, 1, 8, 0, 6, 4, 0, 2, 2, 2, 2, 2, 2, 2, 203, 0, 113, 50, 1, 1, 1, 1, 1, 1, 203, 0, 113, 10];
        assert_eq!(answer.as_bytes(), bytes);
    }
}
