//! What leads inside from outside (forwards), and the external addresses that are not the uplink's own:
//! floating ones and pools.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::rules::RuleFlags;
use crate::{
    interface::IfIndex,
    wire::{Address, Port},
};

/// Data of a key of the longest-prefix map of forwards: which external endpoints lead inside. The fields are in the
/// order in which prefixes grow: a floating address has a prefix up to the address, a range of ports ends within the
/// port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ForwardKey {
    /// Interface index of the uplink.
    pub uplink: IfIndex,
    /// External address.
    pub address: Address,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
    /// External port.
    pub port: Port,
}

impl ForwardKey {
    /// Bits of the prefix of a floating address.
    pub const ADDRESS_BITS: u32 = 64;
    /// Bits of the prefix of a single port.
    pub const PORT_BITS: u32 = 96;
}

/// Where an external endpoint leads.
///
/// A second map has the reverse, for packets from inside: the key has the inside address and port, and the value leads
/// to the external endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Forward {
    /// Inside address, in packet order.
    pub address: Address,
    /// Added to the external port to give the inside port, modulo 65536, host order; 0: the port stays.
    pub port_offset: u16,
    /// What kind of address leads there.
    pub flags: ForwardFlags,
}

/// What a [`Forward`] is; each flag is also one of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct ForwardFlags(u16);

bitflags! {
    impl ForwardFlags: u16 {
        /// A floating address.
        const FIXED = RuleFlags::FIXED.bits() as u16;
        /// The external address is not one of the uplink's own.
        const POOL = RuleFlags::POOL.bits() as u16;
    }
}

impl ForwardFlags {
    /// The same flags as those of a rule.
    #[inline(always)]
    pub const fn of_rule(self) -> RuleFlags {
        RuleFlags::from_bits_retain(self.bits() as u32)
    }
}

/// Key: an external address that is not one of the uplink's own, but a floating one or one of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ExternalKey {
    /// Interface index of the uplink; 0 in the map that finds the uplink of any external address.
    pub uplink: IfIndex,
    /// External address, in packet order.
    pub address: Address,
}

/// What an [`External`] address is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct ExternalFlags(u32);

bitflags! {
    impl ExternalFlags: u32 {
        /// The host does not have the address: the datapath answers ARP for it, and packets to it that nobody wants are
        /// dropped.
        const ANSWER = 1;
    }
}

/// What is known about an external address that is not one of the uplink's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct External {
    /// Interface index of the uplink that it belongs to.
    pub uplink: IfIndex,
    /// What it is.
    pub flags: ExternalFlags,
    /// MAC address of the uplink, to answer with.
    pub mac: [u8; 6],
    /// Zero.
    pub reserved: [u8; 2],
}

impl External {
    /// Whether this flag is set.
    #[inline(always)]
    pub const fn has(&self, flag: ExternalFlags) -> bool {
        self.flags.0 & flag.0 != 0
    }
}

/// How many addresses a pool can have.
pub const MAX_POOL: usize = 64;

/// A pool of external addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pool {
    /// How many of `addresses` count, 1 to [`MAX_POOL`].
    pub count: u32,
    /// The addresses; those after `count` mean nothing.
    pub addresses: [Address; MAX_POOL],
}

/// How many pools there can be.
pub const MAX_POOLS: u32 = 64;

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::ForwardKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Forward {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::ExternalKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::External {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Pool {}
}
