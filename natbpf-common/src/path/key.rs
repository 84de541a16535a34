//! Keys of paths: by which device a packet comes in, and what it is to hosts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    interface::IfIndex,
    wire::{
        Port,
        family::{Family, V4, V6},
        headers::{Headers, Kind},
    },
};

/// What the packets of a path have in common where they come in. Without padding: 24 bytes of IPv4, 48 of IPv6.
///
/// Ports are as in [`FlowKey`](crate::flow::FlowKey): an ICMP query has its identifier as the port of the end that
/// asks, and the type of the request as the other port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct PathKey<F: Family = V4> {
    /// Interface index of the edge by which the packet comes in.
    pub edge: IfIndex,
    /// Tag with which it comes in, protocol (upper half) and TCI, host order; 0: none. Row B18.
    pub vlan: u32,
    /// Address that it comes from.
    pub source: F::Address,
    /// Address that it goes to.
    pub destination: F::Address,
    /// See above.
    pub source_port: Port,
    /// See above.
    pub destination_port: Port,
    /// IP protocol number, and [`ANSWER`].
    pub protocol: u32,
}

/// In [`PathKey::protocol`]: the answer to an ICMP query. It and a query whose identifier is the number of its type
/// would have one key, and the host lets in answers where it lets in no queries.
pub const ANSWER: u32 = 1 << 8;

impl<F: Family> PathKey<F> {
    /// The key of a packet that comes in by this edge with this tag.
    #[inline(always)]
    pub fn of(headers: &Headers<F>, edge: IfIndex, vlan: u32) -> Self {
        Self {
            edge,
            vlan,
            source: headers.source,
            destination: headers.destination,
            source_port: headers.source_port,
            destination_port: headers.destination_port,
            protocol: headers.protocol as u32 | if headers.is(Kind::IcmpReply) { ANSWER } else { 0 },
        }
    }

    /// Both ports as one word.
    #[inline(always)]
    pub const fn ports(&self) -> u32 {
        self.source_port.to_wire() as u32 | (self.destination_port.to_wire() as u32) << 16
    }
}

/// What zerocopy's derive and aya ask for; the derive takes no generic type with an alignment of its own.
macro_rules! without_padding {
    ($($family:ty: $size:literal),*) => {$(
        const _: () = assert!(
            size_of::<PathKey<$family>>() == $size
                && 16 + 2 * size_of::<<$family as Family>::Address>() == $size
        );

        // SAFETY: as long as all its fields together, so there is nothing between them; and none of them has
        // padding itself.
        unsafe impl IntoBytes for PathKey<$family> {
            fn only_derive_is_allowed_to_implement_this_trait() {}
        }
    )*};
}

without_padding!(V4: 24, V6: 48);
