//! Uplinks: the interfaces that traffic leaves by.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{interface::IfIndex, wire::Address};

/// How many uplinks an instance can have.
pub const MAX_UPLINKS: usize = 16;

/// How many addresses of an uplink the datapath knows.
pub const MAX_ADDRESSES: usize = 8;

/// One of the addresses that an uplink can masquerade with, in the order in which the interface has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UplinkAddress {
    /// Address of the interface, in packet order.
    pub local: Address,
    /// First address of its subnet: the address whose subnet holds the next hop is preferred.
    pub network: Address,
    /// Netmask of its subnet.
    pub mask: Address,
}

/// What an [`Uplink`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct UplinkFlags(u32);

bitflags! {
    impl UplinkFlags: u32 {
        /// Flows may begin from outside by one of its addresses: there are port forwards, floating addresses, pools,
        /// or mappings with a filtering that lets strangers in. Without it what arrives for the host costs no more
        /// lookups.
        const SERVES = 1;
        /// A SYN that nobody wants is dropped in silence, instead of being left to the host's stack, which
        /// answers with a RST (RFC 5382 REQ-4).
        const SILENT = 2;
        /// Most of its ports are forwarded, as for a "DMZ host": none is kept free for that.
        const MOSTLY_FORWARDED = 4;
    }
}

/// An interface that traffic leaves by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Uplink {
    /// Interface index; 0 is a free place.
    pub interface: IfIndex,
    /// Length of the link layer header: 14 with Ethernet, 0 without.
    pub link_header: u32,
    /// What it is.
    pub flags: UplinkFlags,
    /// How many of `addresses` count. Zero: nothing can be translated, and what would have to be is dropped.
    pub address_count: u32,
    /// The addresses; those after the count are zero.
    pub addresses: [UplinkAddress; MAX_ADDRESSES],
}

impl Uplink {
    /// Whether this flag is set.
    #[inline(always)]
    pub const fn has(&self, flag: UplinkFlags) -> bool {
        self.flags.0 & flag.0 != 0
    }
}

/// Places of the table of uplinks.
const PLACES: usize = 64;

/// All uplinks; a value of their map, which has two ([`Gauge::Uplinks`](super::gauge::Gauge::Uplinks)). Each
/// stands at the place that a hash of its interface index names, and the hash is chosen so that no two meet:
/// found in one step, without a loop that the verifier would have to follow for every place.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Uplinks {
    /// The hash's multiplier.
    pub salt: u32,
    places: [Uplink; PLACES],
}

impl Uplinks {
    /// Arranges uplinks with different interface indexes. `previous` is the salt in use, kept if it will do,
    /// so that no uplink moves without need. `None`: there are more than [`MAX_UPLINKS`].
    pub fn arrange(uplinks: &[Uplink], previous: u32) -> Option<Self> {
        if uplinks.len() > MAX_UPLINKS {
            return None;
        }
        let mut salt = previous | 1;
        // Sixteen of sixty-four places: one salt in ten or so does, even at worst.
        for _ in 0..1_000_000 {
            let mut arranged = Self { salt, places: [Uplink::default(); PLACES] };
            let fits = uplinks.iter().all(|uplink| {
                let place = &mut arranged.places[place(salt, uplink.interface)];
                let free = place.interface.is_none();
                *place = *uplink;
                free
            });
            if fits {
                return Some(arranged);
            }
            salt = salt.wrapping_mul(0x915f_77f5).wrapping_add(0x9e37_79b8) | 1;
        }
        None
    }

    /// The uplink with this interface index, which is not 0; `None`: that interface is no uplink.
    #[inline(always)]
    pub fn find(&self, interface: IfIndex) -> Option<&Uplink> {
        let uplink = &self.places[place(self.salt, interface)];
        if uplink.interface == interface { Some(uplink) } else { None }
    }
}

#[inline(always)]
const fn place(salt: u32, interface: IfIndex) -> usize {
    (interface.number().wrapping_mul(salt) >> 26) as usize & (PLACES - 1)
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::Uplinks {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_set_of_uplinks_can_be_arranged(
            interfaces in proptest::collection::btree_set(1..u32::MAX, 0..=MAX_UPLINKS),
            stranger in 1..u32::MAX,
            salt: u32,
        ) {
            let interfaces: Vec<_> = interfaces.into_iter().map(IfIndex::new).collect();
            let stranger = IfIndex::new(stranger);
            let uplinks: Vec<Uplink> =
                interfaces.iter().map(|interface| Uplink { interface: *interface, ..Uplink::default() }).collect();
            let arranged = Uplinks::arrange(&uplinks, salt).expect("it fits");
            for interface in &interfaces {
                prop_assert_eq!(arranged.find(*interface).map(|uplink| uplink.interface), Some(*interface));
            }
            if !interfaces.contains(&stranger) {
                prop_assert!(arranged.find(stranger).is_none());
            }
            // The same again stays where it is.
            prop_assert_eq!(Uplinks::arrange(&uplinks, arranged.salt).map(|again| again.salt), Some(arranged.salt));
        }
    }

    #[test]
    fn neighbouring_indexes_can_be_arranged() {
        for first in 1..500 {
            let uplinks: Vec<Uplink> = (first..first + MAX_UPLINKS as u32)
                .map(|interface| Uplink { interface: IfIndex::new(interface), ..Uplink::default() })
                .collect();
            assert!(Uplinks::arrange(&uplinks, 0).is_some());
        }
        let one_more = [Uplink::default(); MAX_UPLINKS + 1];
        assert!(Uplinks::arrange(&one_more, 0).is_none());
    }
}
