//! Rules: which sources are masqueraded toward which destinations, and how.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{flow::Traits, interface::IfIndex, wire::Address};

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

/// What a [`Rule`] asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct RuleFlags(u32);

bitflags! {
    impl RuleFlags: u32 {
        /// A random port for every mapping, instead of the source port where that is free.
        const RANDOM = 1;
        /// Address-and-port-dependent mapping (RFC 4787 section 4.1) instead of endpoint-independent.
        const PER_DESTINATION = 2;
        /// A port range is given.
        const PORTS = 4;
        /// The rule depends on the destination: look it up.
        const DESTINATIONS = 8;
        /// What matches is left alone.
        const EXEMPT = 16;
        /// Endpoint-independent filtering (RFC 4787 section 5): every packet from outside to a mapping is let in.
        const OPEN = 32;
        /// Address-dependent filtering (RFC 4787 section 5): an outside address is let in, from any port, if the inside
        /// endpoint has sent to it.
        const OPEN_TO_PEERS = 64;
        /// 1:1: the external address is given, ports stay, every protocol passes.
        const FIXED = 128;
        /// The external address is one of a pool, chosen by the source (RFC 4787 REQ-2: paired).
        const POOL = 256;
        /// Packets from outside do not keep a flow alive (RFC 4787 REQ-6).
        const OUTBOUND_REFRESH = 512;
    }
}

impl RuleFlags {
    /// Strangers are let in, all of them or those that the endpoint has sent to.
    pub const OPEN_TO_ANY: Self = Self::OPEN.union(Self::OPEN_TO_PEERS);

    /// [`FlowEntry::traits`](crate::flow::FlowEntry::traits) of the flows that a rule with these flags makes.
    #[inline(always)]
    pub const fn traits(self) -> Traits {
        let mut traits = Traits::empty();
        if self.intersects(Self::FIXED.union(Self::POOL)) {
            traits = traits.union(Traits::FOREIGN_ADDRESS);
        }
        if self.intersects(Self::OUTBOUND_REFRESH) {
            traits = traits.union(Traits::OUTBOUND_REFRESH);
        }
        traits
    }
}

/// What happens to the new flows of a source, or of a source toward a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rule {
    /// With [`RuleFlags::DESTINATIONS`]: the number in the keys of the destinations, [`DestinationKey::rule`].
    pub id: u32,
    /// What is asked for.
    pub flags: RuleFlags,
    /// With [`RuleFlags::PORTS`]: the first external TCP or UDP port, host order.
    pub first_port: u16,
    /// With [`RuleFlags::PORTS`]: the last one, host order.
    pub last_port: u16,
    /// With [`RuleFlags::FIXED`]: the external address, which belongs to this source alone.
    pub address: Address,
    /// With [`RuleFlags::POOL`]: index of the pool.
    pub pool: u32,
    /// How many flows a source may have at a time; 0: no limit.
    pub max_flows: u32,
    /// Nanoseconds that a source's new flow costs (1 / rate); 0: no limit.
    pub interval: u32,
    /// Zero.
    pub reserved: u32,
}

impl Rule {
    /// [`FlowEntry::traits`](crate::flow::FlowEntry::traits) of the flows that the rule makes.
    #[inline(always)]
    pub const fn traits(&self) -> Traits {
        self.flags.traits()
    }

    /// Whether this flag is set.
    #[inline(always)]
    pub const fn has(&self, flag: RuleFlags) -> bool {
        self.flags.0 & flag.0 != 0
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
