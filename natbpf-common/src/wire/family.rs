//! The two families of packets: what has another width or another number in each.
//!
//! What is generic over them names IPv4 by nothing, since that is the default:
//!
//! ```
//! use natbpf_common::wire::{family::V6, headers::Headers};
//!
//! let (four, six): (Headers, Headers<V6>) = (Headers::default(), Headers::default());
//! assert!(four.source.is_unspecified() && six.source.is_unspecified());
//! ```

use core::{fmt::Debug, hash::Hash};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    Address, Address6,
    protocol::{ICMP, ICMP6, icmp, icmp6},
};

/// IPv4 or IPv6. The bounds are what lets a type derive that is generic over it.
pub trait Family: Copy + Debug + Default + Eq + Hash + 'static {
    /// Its octets in packet order.
    type Address: Copy + Debug + Default + Eq + Hash + FromBytes + IntoBytes + Immutable + KnownLayout;

    /// What the fragments of a datagram have in common, as it stands in the packet.
    type Identification: Copy + Debug + Default + Eq + Hash;

    /// The protocol number of ICMP.
    const ICMP: u8;

    /// What a type of ICMP message is to a NAT.
    fn classify(icmp_type: u8) -> icmp::Message;
}

/// IPv4 (RFC 791).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct V4;

/// IPv6 (RFC 8200).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct V6;

impl Family for V4 {
    type Address = Address;
    /// Every header has one (RFC 791, section 3.1).
    type Identification = u16;

    const ICMP: u8 = ICMP;

    #[inline(always)]
    fn classify(icmp_type: u8) -> icmp::Message {
        icmp::classify(icmp_type)
    }
}

impl Family for V6 {
    type Address = Address6;
    /// In the fragment header alone (RFC 8200, section 4.5).
    type Identification = u32;

    const ICMP: u8 = ICMP6;

    #[inline(always)]
    fn classify(icmp_type: u8) -> icmp::Message {
        icmp6::classify(icmp_type)
    }
}
