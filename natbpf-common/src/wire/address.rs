//! Addresses and ports in network byte order, as types, so that a host-order number cannot take their place.

use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv4 address, its four octets in packet order.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Address(u32);

/// An IPv6 address, its sixteen octets in packet order.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Address6([u32; 4]);

/// A port (or an ICMP query identifier), its two octets in packet order.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Port(u16);

impl Address {
    /// 0.0.0.0
    pub const UNSPECIFIED: Self = Self(0);

    /// 0.0.0.0: no host, or no address yet.
    #[inline(always)]
    pub const fn is_unspecified(self) -> bool {
        self.0 == 0
    }

    /// Takes four octets loaded as one native integer.
    #[inline(always)]
    pub const fn from_wire(word: u32) -> Self {
        Self(word)
    }

    /// The four octets as one native integer, ready to be stored.
    #[inline(always)]
    pub const fn to_wire(self) -> u32 {
        self.0
    }

    /// A multicast group, the broadcast of the link, or reserved (224.0.0.0/3): not one host's. Row F08.
    #[inline(always)]
    pub const fn is_for_many(self) -> bool {
        self.0.to_ne_bytes()[0] >= 224
    }

    /// The address ANDed with a mask.
    #[inline(always)]
    pub const fn masked(self, mask: Self) -> Self {
        Self(self.0 & mask.0)
    }

    /// The mask of a prefix length; lengths over 32 count as 32.
    pub const fn mask(prefix_length: u8) -> Self {
        match prefix_length {
            0 => Self(0),
            length @ 1..=31 => Self((u32::MAX << (32 - length)).to_be()),
            _ => Self(u32::MAX),
        }
    }
}

impl Address6 {
    /// ::
    pub const UNSPECIFIED: Self = Self([0; 4]);

    /// An IPv4 address in the place of one of IPv6, where both may stand (RFC 4291, section 2.5.5.2).
    #[inline(always)]
    pub const fn mapped(address: Address) -> Self {
        Self([0, 0, 0xffff_u32.to_be(), address.0])
    }

    /// `::`: no host, or no address yet (RFC 4291, section 2.5.2).
    #[inline(always)]
    pub const fn is_unspecified(self) -> bool {
        let [a, b, c, d] = self.0;
        a | b | c | d == 0
    }

    /// Takes sixteen octets loaded as four native integers.
    #[inline(always)]
    pub const fn from_wire(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// The sixteen octets as four native integers, ready to be stored one after the other.
    #[inline(always)]
    pub const fn to_wire(self) -> [u32; 4] {
        self.0
    }

    /// A multicast group (ff00::/8; RFC 4291, section 2.7): not one host's. IPv6 has no broadcast.
    #[inline(always)]
    pub const fn is_for_many(self) -> bool {
        self.0[0].to_ne_bytes()[0] == 0xff
    }

    /// One word in which each bit of the address counts, for hashes. The words are rotated, so that of those
    /// that are the same none is lost.
    #[inline(always)]
    pub const fn fold(self) -> u32 {
        let [a, b, c, d] = self.0;
        a ^ b.rotate_left(7) ^ c.rotate_left(14) ^ d.rotate_left(21)
    }
}

impl Port {
    /// From a number in host order.
    #[inline(always)]
    pub const fn new(number: u16) -> Self {
        Self(number.to_be())
    }

    /// As a number in host order.
    #[inline(always)]
    pub const fn number(self) -> u16 {
        u16::from_be(self.0)
    }

    /// Takes two octets loaded as one native integer.
    #[inline(always)]
    pub const fn from_wire(word: u16) -> Self {
        Self(word)
    }

    /// The two octets as one native integer, ready to be stored.
    #[inline(always)]
    pub const fn to_wire(self) -> u16 {
        self.0
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self(u32::from_ne_bytes(address.octets()))
    }
}

impl From<Address> for Ipv4Addr {
    fn from(address: Address) -> Self {
        Self::from(address.0.to_ne_bytes())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Ipv4Addr::from(*self), f)
    }
}

impl From<Ipv6Addr> for Address6 {
    fn from(address: Ipv6Addr) -> Self {
        zerocopy::transmute!(address.octets())
    }
}

impl From<Address6> for Ipv6Addr {
    fn from(address: Address6) -> Self {
        let octets: [u8; 16] = zerocopy::transmute!(address);
        Self::from(octets)
    }
}

impl From<IpAddr> for Address6 {
    /// One of IPv4 is mapped.
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::mapped(address.into()),
            IpAddr::V6(address) => address.into(),
        }
    }
}

impl From<Address6> for IpAddr {
    /// A mapped one is of IPv4.
    fn from(address: Address6) -> Self {
        Ipv6Addr::from(address).to_canonical()
    }
}

impl fmt::Debug for Address6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Address6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Ipv6Addr::from(*self), f)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.number(), f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn octets_keep_their_order() {
        let address = Address::from(Ipv4Addr::new(203, 0, 113, 1));
        assert_eq!(address.as_bytes(), [203, 0, 113, 1]);
        assert_eq!(Ipv4Addr::from(address), Ipv4Addr::new(203, 0, 113, 1));
        assert_eq!(Port::new(0x1234).as_bytes(), [0x12, 0x34]);
        assert_eq!(Port::new(0x1234).number(), 0x1234);
    }

    #[test]
    fn addresses_are_shown_as_the_standard_library_does() {
        for text in ["::", "::1", "2001:db8::7:0:0:1", "fe80::1", "ff02::fb", "::ffff:192.0.2.1"] {
            let address: Ipv6Addr = text.parse().unwrap();
            assert_eq!(Address6::from(address).as_bytes(), address.octets());
            assert_eq!(Ipv6Addr::from(Address6::from(address)), address);
            assert_eq!(format!("{0} {0:?}", Address6::from(address)), format!("{text} {text}"));
            assert_eq!(Address6::from(address).is_unspecified(), address.is_unspecified());
            assert_eq!(Address6::from(address).is_for_many(), address.is_multicast());
        }
        assert_eq!(Address6::from(Ipv6Addr::UNSPECIFIED), Address6::UNSPECIFIED);
    }

    #[test]
    fn both_families_stand_in_one_place() {
        for text in ["203.0.113.1", "0.0.0.0", "2001:db8::1", "::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address6::from(address)), address);
        }
    }

    proptest! {
        #[test]
        fn every_bit_counts_in_the_word_of_an_address(words: [u32; 4], bit in 0..128usize) {
            let mut other = words;
            other[bit / 32] ^= 1 << (bit % 32);
            prop_assert_ne!(Address6::from_wire(words).fold(), Address6::from_wire(other).fold());
        }
    }

    #[test]
    fn masks_of_every_length() {
        for length in 0..=32u8 {
            let ones = u32::from_be(Address::mask(length).to_wire());
            assert_eq!(ones.count_ones(), u32::from(length));
            assert_eq!(ones.leading_ones(), u32::from(length));
        }
        assert_eq!(Address::mask(40), Address::mask(32));
    }
}
