//! Endpoint-independent mappings (RFC 4787 REQ-1): one external port for an inside endpoint, whatever the
//! destination.
//!
//! The entry under the external endpoint is the reservation and the authority; it says who owns the port and
//! counts the flows that use it. An entry under the inside endpoint exists only where the external port
//! differs from the inside one, which is how it is found again.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    Address, Nanoseconds, Port,
    siphash::{Secret, siphash},
};

/// Which side of the gateway an endpoint is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    Inside = 0,
    External = 1,
}

/// Key: an endpoint. 12 bytes without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Endpoint {
    pub address: Address,
    /// The other address that tells the mapping apart: on the inside, the external address it is mapped to
    /// (an instance that leaves by two uplinks has a mapping on each); zero on the external side.
    pub toward: Address,
    pub port: Port,
    /// IP protocol number.
    pub protocol: u8,
    /// A [`Side`].
    pub side: u8,
}

/// Value, 24 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Mapping {
    /// The address and port on the other side, as [`Mapping::pack`] lays them out.
    pub other: u64,
    /// A [`Users`]; not used on the inside.
    pub users: u64,
    /// When the last user went.
    pub idle_since: Nanoseconds,
}

impl Endpoint {
    /// Seed of the port search: keyed, stable for the endpoint.
    #[inline(always)]
    pub const fn seed(&self, secret: Secret) -> u64 {
        let low = self.address.to_wire() as u64 | (self.toward.to_wire() as u64) << 32;
        let high = self.port.to_wire() as u64 | (self.protocol as u64) << 16;
        siphash(secret, [low, high])
    }
}

impl Mapping {
    #[inline(always)]
    pub const fn pack(address: Address, port: Port) -> u64 {
        address.to_wire() as u64 | (port.to_wire() as u64) << 32
    }

    #[inline(always)]
    pub const fn unpack(word: u64) -> (Address, Port) {
        (Address::from_wire(word as u32), Port::from_wire((word >> 32) as u16))
    }
}

/// How many flows use a mapping; one word, changed by compare-and-swap. The owner's address is part of it, so
/// that a swap fails on an element that has been given to another mapping meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Users(u64);

impl Users {
    const GONE: u64 = u32::MAX as u64;

    #[inline(always)]
    pub const fn one(owner: Address) -> Self {
        Self((owner.to_wire() as u64) << 32 | 1)
    }

    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub const fn count(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    pub const fn owner(self) -> Address {
        Address::from_wire((self.0 >> 32) as u32)
    }

    /// One more; `None` when it is being removed.
    #[inline(always)]
    pub const fn more(self) -> Option<Self> {
        if self.0 & Self::GONE >= Self::GONE - 1 { None } else { Some(Self(self.0 + 1)) }
    }

    /// Being removed.
    #[inline(always)]
    pub const fn gone(self) -> Self {
        Self(self.0 | Self::GONE)
    }

    #[inline(always)]
    pub const fn is_gone(self) -> bool {
        self.0 & Self::GONE == Self::GONE
    }
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: both types are `repr(C)`, have no padding (zerocopy's `IntoBytes` proves it) and any bytes are
    // valid.
    unsafe impl aya::Pod for super::Endpoint {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Mapping {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counting_up(owner: u32, steps in 0..100u32) {
            let owner = Address::from_wire(owner);
            let mut users = Users::one(owner);
            for _ in 0..steps {
                users = users.more().unwrap();
            }
            prop_assert_eq!(users.count(), steps + 1);
            prop_assert_eq!(users.owner(), owner);
            prop_assert_eq!(users.gone().more(), None);
            prop_assert!(users.gone().is_gone() && !users.is_gone());
            prop_assert_eq!(users.gone().owner(), owner);
        }

        #[test]
        fn packing(address: u32, port: u16) {
            let pair = (Address::from_wire(address), Port::from_wire(port));
            prop_assert_eq!(Mapping::unpack(Mapping::pack(pair.0, pair.1)), pair);
        }
    }
}
