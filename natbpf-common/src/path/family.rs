//! What of paths is different in the two families.

use network_types::{
    eth::{EthHdr, EtherType},
    ip::{Ipv4Hdr, Ipv6Hdr},
};

use super::{
    cell::{Change, Exit},
    key::PathKey,
    sums::{self, Sums},
};
use crate::{
    keyed::Keys,
    wire::{
        Address, Address6,
        family::{Family, V4, V6},
        headers::{Headers, Kind, Network},
        packet::Packet,
        protocol::TCP,
        segment,
    },
};

/// The secret numbers by which tuples and frames are hashed.
pub type PathKeys = [Keys; 3];

/// A family whose packets are repeated.
pub trait Repeatable: Network {
    /// Offset of the transport header in a plain frame.
    const TRANSPORT: usize;

    /// Whether the ICMP of this family has the addresses in its checksum.
    const ICMP_HAS_ADDRESSES: bool;

    /// See [`Headers::plain`].
    fn plain<P: Packet>(packet: &mut P) -> Option<Headers<Self>>;

    /// Whether it is not one host's.
    fn is_for_many(address: Self::Address) -> bool;

    /// The difference of two pairs of addresses.
    fn difference(old: (Self::Address, Self::Address), new: (Self::Address, Self::Address)) -> u16;

    /// A keyed hash of all of a key.
    fn digest(key: &PathKey<Self>, keys: &PathKeys) -> u64;

    /// A keyed hash of how packets leave, and what is done to them.
    fn outcome(change: &Change<Self>, exit: &Exit, hops: u8, keys: &PathKeys) -> u64;
}

/// Whether a packet is one that may be repeated: to one host, no beginning and no end of a connection, nothing that the
/// kernel answers. It has to be plain.
#[inline(always)]
pub fn may_be_repeated<F: Repeatable>(headers: &Headers<F>) -> bool {
    let kind = headers.is(Kind::Forward) || headers.is(Kind::IcmpReply);
    kind && runs(headers) && !F::is_for_many(headers.destination)
}

/// Whether it is in the middle of a connection, as far as its flags go.
#[inline(always)]
pub fn runs<F: Family>(headers: &Headers<F>) -> bool {
    headers.protocol != TCP
        || !headers.tcp_flags.intersects(segment::SYN.union(segment::FIN).union(segment::RST))
}

/// The change that makes one packet of another.
#[inline(always)]
pub fn change<F: Repeatable>(key: &PathKey<F>, left: &Headers<F>) -> Change<F> {
    let old = (key.source, key.destination);
    let new = (left.source, left.destination);
    let ports = left.source_port.to_wire() as u32 | (left.destination_port.to_wire() as u32) << 16;
    Change {
        sums: Sums { addresses: F::difference(old, new), ports: sums::difference(&[key.ports()], &[ports]) },
        source: left.source,
        destination: left.destination,
        source_port: left.source_port,
        destination_port: left.destination_port,
    }
}

impl Repeatable for V4 {
    const TRANSPORT: usize = EthHdr::LEN + Ipv4Hdr::LEN;
    const ICMP_HAS_ADDRESSES: bool = false;

    #[inline(always)]
    fn plain<P: Packet>(packet: &mut P) -> Option<Headers> {
        Headers::plain(packet)
    }

    #[inline(always)]
    fn is_for_many(address: Address) -> bool {
        address.is_for_many()
    }

    #[inline(always)]
    fn difference(old: (Address, Address), new: (Address, Address)) -> u16 {
        sums::difference(&[old.0.to_wire(), old.1.to_wire()], &[new.0.to_wire(), new.1.to_wire()])
    }

    #[inline(always)]
    fn digest(key: &PathKey, [keys, ..]: &PathKeys) -> u64 {
        let (source, destination) = (key.source.to_wire(), key.destination.to_wire());
        keys.hash(&[key.edge.number(), key.vlan, source, destination, key.ports(), key.protocol])
    }

    #[inline(always)]
    fn outcome(change: &Change, exit: &Exit, hops: u8, [first, second, _]: &PathKeys) -> u64 {
        let [a, b, c] = exit.ethernet;
        let ports = change.ports();
        let words = [a, b, c, exit.edge.number(), exit.vlan, exit.mark];
        let more =
            [change.source.to_wire(), change.destination.to_wire(), ports, exit.priority, hops as u32, 0];
        first.hash_with(&words, second, &more)
    }
}

impl Repeatable for V6 {
    const TRANSPORT: usize = EthHdr::LEN + Ipv6Hdr::LEN;
    const ICMP_HAS_ADDRESSES: bool = true;

    #[inline(always)]
    fn plain<P: Packet>(packet: &mut P) -> Option<Headers<Self>> {
        Headers::<Self>::read_plain(packet)
    }

    #[inline(always)]
    fn is_for_many(address: Address6) -> bool {
        address.is_for_many()
    }

    #[inline(always)]
    fn difference(old: (Address6, Address6), new: (Address6, Address6)) -> u16 {
        let first = sums::difference(&old.0.to_wire(), &new.0.to_wire());
        let second = sums::difference(&old.1.to_wire(), &new.1.to_wire());
        crate::wire::checksum::fold(first as u32 + second as u32)
    }

    #[inline(always)]
    fn digest(key: &PathKey<Self>, [first, second, _]: &PathKeys) -> u64 {
        let ([a, b, c, d], [e, f, g, h]) = (key.source.to_wire(), key.destination.to_wire());
        let words = [key.edge.number(), key.vlan, a, b, c, d];
        first.hash_with(&words, second, &[e, f, g, h, key.ports(), key.protocol])
    }

    #[inline(always)]
    fn outcome(change: &Change<Self>, exit: &Exit, hops: u8, [first, second, third]: &PathKeys) -> u64 {
        let [a, b, c] = exit.ethernet;
        let ([d, e, f, g], [h, i, j, k]) = (change.source.to_wire(), change.destination.to_wire());
        first
            .hash_with(&[a, b, c, exit.edge.number(), exit.vlan, exit.mark], second, &[d, e, f, g, h, i])
            .wrapping_add(third.hash(&[j, k, change.ports(), exit.priority, hops as u32, 0]))
    }
}

/// The EtherType of tags that are repeated, as in [`Exit::vlan`].
pub const TAGS: [u32; 2] = [(EtherType::Ieee8021q as u32) << 16, (EtherType::Ieee8021ad as u32) << 16];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{interface::IfIndex, wire::Port};

    fn keys() -> impl Strategy<Value = PathKeys> {
        any::<[[[u64; 7]; 2]; 3]>().prop_map(|numbers| zerocopy::transmute!(numbers))
    }

    fn key6() -> impl Strategy<Value = PathKey<V6>> {
        any::<[u32; 12]>().prop_map(|words| zerocopy::transmute!(words))
    }

    proptest! {
        #[test]
        fn every_bit_of_a_tuple_counts(words: [u32; 6], bit in 0..192usize, keys in keys()) {
            let key: PathKey = zerocopy::transmute!(words);
            let mut words = words;
            words[bit / 32] ^= 1 << (bit % 32);
            let other: PathKey = zerocopy::transmute!(words);
            prop_assert_ne!(V4::digest(&key, &keys), V4::digest(&other, &keys));
        }

        #[test]
        fn every_bit_of_a_tuple_of_ipv6_counts(key in key6(), bit in 0..384usize, keys in keys()) {
            let mut words: [u32; 12] = zerocopy::transmute!(key);
            words[bit / 32] ^= 1 << (bit % 32);
            let other: PathKey<V6> = zerocopy::transmute!(words);
            prop_assert_ne!(V6::digest(&key, &keys), V6::digest(&other, &keys));
        }

        #[test]
        fn another_outcome_has_another_hash(
            words: [u32; 9], ports: [u16; 2], hops: u8, other_hops: u8, keys in keys(), bit in 0..288usize
        ) {
            let outcome = |[a, b, c, edge, vlan, mark, priority, source, destination]: [u32; 9], hops| {
                let change = Change {
                    sums: Sums::default(),
                    source: Address::from_wire(source),
                    destination: Address::from_wire(destination),
                    source_port: Port::from_wire(ports[0]),
                    destination_port: Port::from_wire(ports[1]),
                };
                V4::outcome(&change, &Exit { edge: IfIndex::new(edge), ethernet: [a, b, c], vlan, mark, priority }, hops, &keys)
            };
            let mut others = words;
            others[bit / 32] ^= 1 << (bit % 32);
            prop_assert_ne!(outcome(words, hops), outcome(others, hops));
            prop_assert_eq!(outcome(words, hops) == outcome(words, other_hops), hops == other_hops);
        }
    }
}
