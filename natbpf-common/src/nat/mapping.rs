//! Endpoint-independent mappings (RFC 4787 REQ-1): one external port for an inside endpoint, whatever the
//! destination.
//!
//! The entry under the external endpoint is the reservation and the authority; it says who owns the port and
//! counts the flows that use it. An entry under the inside endpoint exists only where the external port
//! differs from the inside one, which is how it is found again.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    contract::rules::RuleFlags,
    flow::life::GRACE,
    siphash::{Secret, siphash},
    time::{Nanoseconds, SECOND, Timestamp},
    wire::{Address, Port},
};

/// Which side of the gateway an endpoint is on, and what the entry says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    /// An inside endpoint with the external one that it is mapped to.
    Inside = 0,
    /// An external endpoint with its owner, the inside endpoint that it is reserved for.
    External = 1,
    /// An external endpoint together with an outside address that its owner has sent to, for
    /// address-dependent filtering.
    Peer = 2,
    /// An inside address with the number of its flows: the account of a source that has limits.
    Source = 3,
}

/// Key: an endpoint. 12 bytes without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Endpoint {
    /// Address of the endpoint, in packet order.
    pub address: Address,
    /// The other address that tells the mapping apart: on the inside, the external address it is mapped to
    /// (an instance that leaves by two uplinks has a mapping on each); the outside address of a peer; else zero.
    pub toward: Address,
    /// Port or ICMP query identifier. A source has two accounts: 0 for the flows that it has begun, 1 for those that
    /// strangers have begun to it.
    pub port: Port,
    /// IP protocol number; 0 for a source.
    pub protocol: u8,
    /// A [`Side`].
    pub side: u8,
}

/// Value: what is known about an endpoint. 32 bytes without padding.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Mapping {
    /// The address and port on the other side, as [`Mapping::pack`] lays them out. For a source: when its next flow
    /// would be due if they came at the rate that it may have ([`Mapping::due`]).
    pub other: u64,
    /// A [`Users`], as a word; not used on the inside.
    pub users: u64,
    /// When the last user went, by the datapath's clock.
    pub idle_since: Timestamp,
    /// [`Rule::flags`](crate::contract::rules::Rule::flags) of the rule that it was made by, for flows that
    /// begin from outside.
    pub flags: RuleFlags,
    /// Zero.
    pub reserved: u32,
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
    /// An endpoint in one word, from the lowest bit on: 32 bits of the address, 16 of the port.
    #[inline(always)]
    pub const fn pack(address: Address, port: Port) -> u64 {
        address.to_wire() as u64 | (port.to_wire() as u64) << 32
    }

    /// How long a port without users stays with its owner, given the flags that a mapping keeps. RFC 6888 REQ-8: two
    /// minutes, so that a host outside that still sends to that port does not reach another owner. Where only hosts are
    /// let in that the owner has sent to, the grace period is enough.
    #[inline(always)]
    pub const fn rest(flags: RuleFlags) -> Nanoseconds {
        if flags.intersects(RuleFlags::OPEN_TO_ANY) { Nanoseconds::seconds(120) } else { GRACE }
    }

    /// When a source's next flow is due after one that begins `now`; `None`: that one comes too early. `due`
    /// is what the one before was given, `interval` is [`Rule::interval`](crate::contract::rules::Rule::interval).
    /// A source that has been silent may begin as many at once as it may in a second (the "generic cell rate
    /// algorithm"). Row C05.
    #[inline(always)]
    pub const fn due(due: Timestamp, interval: Nanoseconds, now: Timestamp) -> Option<Timestamp> {
        let next = if due.number() > now.number() { due } else { now }.after(interval);
        // At least one, however slow the rate is.
        let burst = if interval.number() > SECOND.number() { interval } else { SECOND };
        if next.number() > now.after(burst).number() { None } else { Some(next) }
    }

    /// The reverse of [`Mapping::pack`].
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

    /// One flow of this owner.
    #[inline(always)]
    pub const fn one(owner: Address) -> Self {
        Self((owner.to_wire() as u64) << 32 | 1)
    }

    /// Reads [`Mapping::users`].
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word for [`Mapping::users`]: the count in its lower half, the owner's address above.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.0
    }

    /// How many flows; of no meaning for [`Users::gone`].
    #[inline(always)]
    pub const fn count(self) -> u32 {
        self.0 as u32
    }

    /// Inside address of the owner.
    #[inline(always)]
    pub const fn owner(self) -> Address {
        Address::from_wire((self.0 >> 32) as u32)
    }

    /// One flow more; `None` when the mapping is being removed.
    #[inline(always)]
    pub const fn more(self) -> Option<Self> {
        if self.0 & Self::GONE >= Self::GONE - 1 { None } else { Some(Self(self.0 + 1)) }
    }

    /// Whether any flow uses the mapping.
    #[inline(always)]
    pub const fn in_use(self) -> bool {
        self.count() > 0 && !self.is_gone()
    }

    /// The same for a mapping that is being removed.
    #[inline(always)]
    pub const fn gone(self) -> Self {
        Self(self.0 | Self::GONE)
    }

    /// Whether the mapping is being removed.
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

        /// However the flows come, no more begin than the rate and one burst allow.
        #[test]
        fn no_source_exceeds_its_rate(rate in 1..2000u64, gaps in proptest::collection::vec(0..20_000_000u64, 1..500)) {
            let interval = SECOND / rate;
            let (mut due, mut now, mut begun) = (Timestamp::default(), Timestamp::default() + 1000 * SECOND, 0u64);
            let start = now;
            for gap in gaps {
                now = now + Nanoseconds::new(gap);
                if let Some(next) = Mapping::due(due, interval, now) {
                    due = next;
                    begun += 1;
                }
            }
            prop_assert!(begun <= (now - start) / interval + SECOND / interval + 1);
            prop_assert!(begun >= 1);
            // After a second of silence there is room again.
            prop_assert!(Mapping::due(due, interval, now + SECOND).is_some());
        }

        #[test]
        fn packing(address: u32, port: u16) {
            let pair = (Address::from_wire(address), Port::from_wire(port));
            prop_assert_eq!(Mapping::unpack(Mapping::pack(pair.0, pair.1)), pair);
        }
    }
}
