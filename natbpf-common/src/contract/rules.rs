//! Rules: which sources are masqueraded toward which destinations, and how.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{flow::FlowEntry, interface::IfIndex, wire::Address};

/// Data of a key of the longest-prefix map of masqueraded sources. The interface index comes first, so every
/// prefix includes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SourceKey {
    /// Interface index of the uplink. Any byte order does, since prefixes cover it whole.
    pub uplink: IfIndex,
    /// Source address of the packet, before translation.
    pub source: Address,
}

/// Data of a key of the longest-prefix map of destinations, for sources where the rule depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DestinationKey {
    /// [`Rule::id`] of the source's value.
    pub rule: u32,
    /// Destination address of the packet.
    pub destination: Address,
}

/// Bits of a prefix that come before the address, in both kinds of keys.
pub const PREFIX_BASE: u32 = 32;

/// What happens to the new flows of a source, or of a source toward a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rule {
    /// With [`Rule::DESTINATIONS`]: the number in the keys of the destinations, [`DestinationKey::rule`].
    pub id: u32,
    /// A set of the flags below.
    pub flags: u32,
    /// With [`Rule::PORTS`]: the first external TCP or UDP port, host order.
    pub first_port: u16,
    /// With [`Rule::PORTS`]: the last one, host order.
    pub last_port: u16,
    /// With [`Rule::FIXED`]: the external address, which belongs to this source alone.
    pub address: Address,
    /// With [`Rule::POOL`]: index of the pool.
    pub pool: u32,
    /// How many flows a source may have at a time; 0: no limit.
    pub max_flows: u32,
    /// Nanoseconds that a source's new flow costs (1 / rate); 0: no limit.
    pub interval: u32,
    /// Zero.
    pub reserved: u32,
}

impl Rule {
    /// A random port for every mapping, instead of the source port where that is free.
    pub const RANDOM: u32 = 1;
    /// Address-and-port-dependent mapping (RFC 4787 section 4.1) instead of endpoint-independent.
    pub const PER_DESTINATION: u32 = 2;
    /// A port range is given.
    pub const PORTS: u32 = 4;
    /// The rule depends on the destination: look it up.
    pub const DESTINATIONS: u32 = 8;
    /// What matches is left alone.
    pub const EXEMPT: u32 = 16;
    /// Endpoint-independent filtering (RFC 4787 section 5): every packet from outside to a mapping is let in.
    pub const OPEN: u32 = 32;
    /// Address-dependent filtering (RFC 4787 section 5): an outside address is let in, from any port, if the inside
    /// endpoint has sent to it.
    pub const OPEN_TO_PEERS: u32 = 64;
    /// 1:1: the external address is given, ports stay, every protocol passes.
    pub const FIXED: u32 = 128;
    /// The external address is one of a pool, chosen by the source (RFC 4787 REQ-2: paired).
    pub const POOL: u32 = 256;
    /// Packets from outside do not keep a flow alive (RFC 4787 REQ-6).
    pub const OUTBOUND_REFRESH: u32 = 512;

    /// [`FlowEntry::traits`] of the flows that the rule makes.
    #[inline(always)]
    pub const fn traits(&self) -> u16 {
        Self::traits_of(self.flags)
    }

    /// The same for flags that a mapping has kept ([`Mapping::flags`](crate::nat::mapping::Mapping::flags)).
    #[inline(always)]
    pub const fn traits_of(flags: u32) -> u16 {
        let mut traits = 0;
        if flags & (Self::FIXED | Self::POOL) != 0 {
            traits |= FlowEntry::FOREIGN_ADDRESS;
        }
        if flags & Self::OUTBOUND_REFRESH != 0 {
            traits |= FlowEntry::OUTBOUND_REFRESH;
        }
        traits
    }

    /// Whether this flag is set.
    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::SourceKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::DestinationKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Rule {}
}
