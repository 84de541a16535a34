//! What user space tells the datapath: uplinks, rules, settings.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Address, Port, flow::FlowEntry, keyed::Keys, offload::Ticks, siphash::Secret, state::Timeouts};

/// How many uplinks an instance can have.
pub const MAX_UPLINKS: usize = 16;

/// How many addresses of an uplink the datapath knows.
pub const MAX_ADDRESSES: usize = 8;

/// One of the addresses that an uplink can masquerade with, in the order in which the interface has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UplinkAddress {
    pub local: Address,
    /// Its subnet: the address whose subnet holds the next hop is preferred.
    pub network: Address,
    pub mask: Address,
}

/// An interface that traffic leaves by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Uplink {
    /// Interface index; 0 is a free place.
    pub interface: u32,
    /// Length of the link layer header: 14 with Ethernet, 0 without.
    pub link_header: u32,
    /// Of [`Uplink::SERVES`], [`Uplink::SILENT`], [`Uplink::MOSTLY_FORWARDED`].
    pub flags: u32,
    /// How many of `addresses` count. Zero: nothing can be translated, and what would have to be is dropped.
    pub address_count: u32,
    /// Those beyond the count are zero.
    pub addresses: [UplinkAddress; MAX_ADDRESSES],
}

impl Uplink {
    /// Flows may begin from outside by one of its addresses: there are port forwards, floating addresses, pools, or
    /// mappings with a filtering that lets strangers in. Without it what arrives for the host costs no more lookups.
    pub const SERVES: u32 = 1;
    /// A SYN that nobody wants is dropped in silence, instead of being left to the host's stack, which answers with a RST
    /// (RFC 5382 REQ-4).
    pub const SILENT: u32 = 2;
    /// Most of its ports are forwarded, as for a "DMZ host": none is kept free for that.
    pub const MOSTLY_FORWARDED: u32 = 4;

    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// Places of the table of uplinks.
const PLACES: usize = 64;

/// All uplinks; a value of their map, which has two ([`Gauge::Uplinks`]). Each stands at the place that a
/// hash of its interface index names, and the hash is chosen so that no two meet: found in one step, without
/// a loop that the verifier would have to follow for every place.
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
                let free = place.interface == 0;
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

    /// The uplink of an interface.
    #[inline(always)]
    pub fn find(&self, interface: u32) -> Option<&Uplink> {
        let uplink = &self.places[place(self.salt, interface)];
        if uplink.interface == interface { Some(uplink) } else { None }
    }
}

#[inline(always)]
const fn place(salt: u32, interface: u32) -> usize {
    (interface.wrapping_mul(salt) >> 26) as usize & (PLACES - 1)
}

/// Data of a key of the longest-prefix map of masqueraded sources. The interface index comes first, so every
/// prefix includes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SourceKey {
    /// Interface index of the uplink. Any byte order does, since prefixes cover it whole.
    pub uplink: u32,
    pub source: Address,
}

/// Data of a key of the longest-prefix map of destinations, for sources where the rule depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DestinationKey {
    /// [`Rule::id`] of the source's value.
    pub rule: u32,
    pub destination: Address,
}

/// Bits of a prefix that come before the address, in both kinds of keys.
pub const PREFIX_BASE: u32 = 32;

/// What happens to the new flows of a source, or of a source toward a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rule {
    /// With [`Rule::DESTINATIONS`]: what the keys of the destinations have.
    pub id: u32,
    /// Of the constants below.
    pub flags: u32,
    /// With [`Rule::PORTS`]: the range of external TCP and UDP ports, host order.
    pub first_port: u16,
    pub last_port: u16,
    /// With [`Rule::FIXED`]: the external address, which belongs to this source alone.
    pub address: Address,
    /// With [`Rule::POOL`]: index of the pool.
    pub pool: u32,
    /// How many flows a source may have at a time; 0: no limit.
    pub max_flows: u32,
    /// Nanoseconds that a source's new flow costs (1 / rate); 0: no limit.
    pub interval: u32,
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
    /// Endpoint-independent filtering (RFC 4787 section 5): whoever sends to a mapping reaches it.
    pub const OPEN: u32 = 32;
    /// Address-dependent filtering: whoever the endpoint has sent to reaches it, from any port.
    pub const OPEN_TO_PEERS: u32 = 64;
    /// 1:1: the external address is given, ports stay, every protocol passes.
    pub const FIXED: u32 = 128;
    /// The external address is one of a pool, chosen by the source (RFC 4787 REQ-2: paired).
    pub const POOL: u32 = 256;
    /// Packets from outside do not keep a flow alive (RFC 4787 REQ-6).
    pub const OUTBOUND_REFRESH: u32 = 512;

    /// [`FlowEntry::traits`] of the flows that it makes.
    #[inline(always)]
    pub const fn traits(&self) -> u16 {
        Self::traits_of(self.flags)
    }

    /// The same of the flags that a mapping has kept.
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

    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// Data of a key of the longest-prefix map of forwards: which external endpoints lead inside. The fields are in the
/// order in which prefixes grow: a floating address has a prefix up to the address, a range of ports ends within the
/// port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ForwardKey {
    /// Interface index of the uplink.
    pub uplink: u32,
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

/// Where an external endpoint leads. The other way round, in the map that is asked from inside: the external endpoint that leads to an inside
/// one, whose key has the inside address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Forward {
    /// Inside address.
    pub address: Address,
    /// Added to the external port to give the inside port, modulo 65536, host order; 0: the port stays.
    pub port_offset: u16,
    /// Of the flags of [`Rule`]: [`Rule::FIXED`] of a floating address; [`Rule::POOL`] where the external address is not
    /// one of the uplink's own.
    pub flags: u16,
}

/// Key: an external address that is not one of the uplink's own: of a pool or a floating one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ExternalKey {
    /// Interface index of the uplink; 0 in the map that finds the uplink of any external address.
    pub uplink: u32,
    pub address: Address,
}

/// What there is to know of an external address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct External {
    /// Interface index of the uplink that it belongs to.
    pub uplink: u32,
    /// Of [`External::ANSWER`].
    pub flags: u32,
    /// MAC address of the uplink, to answer with.
    pub mac: [u8; 6],
    pub reserved: [u8; 2],
}

impl External {
    /// The host does not have it: the datapath answers ARP for it, and what nobody wants of it is dropped.
    pub const ANSWER: u32 = 1;

    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
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
    pub addresses: [Address; MAX_POOL],
}

/// How many pools there can be.
pub const MAX_POOLS: u32 = 64;

/// The only value of its map.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Settings {
    pub timeouts: Timeouts,
    /// Made once for a pinned instance, so that ports stay the same over a restart.
    pub secret: Secret,
    /// Of the fingerprints of frames; made like the secret.
    pub keys: Keys,
    /// Cookie of the network namespace whose flows these are.
    pub netns: u64,
    /// How long a noted way holds at most, see [`crate::offload`].
    pub revalidate: Ticks,
    /// Of [`Settings::MADE_LIBERAL`].
    pub changes: u32,
    /// How many reservations there may be for flows of one of the host's addresses; 0: no limit.
    pub host_share: u32,
    pub reserved: u32,
}

impl Settings {
    /// natbpf has set `net.netfilter.nf_conntrack_tcp_be_liberal`, which was 0.
    pub const MADE_LIBERAL: u32 = 1;
}

/// An inside port; the key of its map is the interface index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InsidePort {
    /// Of the flags of [`Offload`](crate::offload::Offload).
    pub flags: u32,
}

/// How many inside ports there can be.
pub const MAX_PORTS: u32 = 4096;

/// Indexes of the map of gauges: values that all processors share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Gauge {
    /// Flows of the host that had to be moved to another port. While there are any, the host's packets cost a
    /// second lookup.
    HostMoved = 0,
    /// Flow events are written until this time of the datapath's clock: whoever watches keeps it in the
    /// future.
    WatchUntil = 1,
    /// Which of the two values of the map of uplinks counts. The other is written and then chosen, so that no
    /// packet sees half of a change.
    Uplinks = 2,
    /// No [`Notice`](crate::notice::Notice) is written before this time of the datapath's clock.
    NoticeAfter = 3,
    /// Number from 1 to 65535; ways noted under another one do not hold (see [`crate::offload`]). User space counts it up when something of
    /// the network has changed. 0: offload is off.
    Epoch = 4,
    /// How many [`Crossing`](crate::crossing::Crossing)s have been claimed.
    Crossings = 5,
    /// Until this time of the datapath's clock there may be strangers that wait for an answer ([`crate::pending`]).
    StrangersUntil = 6,
    /// How many flows have begun.
    Begun = 7,
    /// How many of them have been looked at by early drop, in the order in which they began.
    LookedAt = 8,
    /// The last [`Moment`](crate::flow::Moment) in which a search for a port found none.
    Refused = 9,
    /// When conntrack was last seen at work, by the datapath's clock; 0: never.
    Conntrack = 10,
}

impl Gauge {
    /// Number of gauges.
    pub const COUNT: u32 = 11;
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::Uplinks {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::SourceKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::DestinationKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::ForwardKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Forward {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::ExternalKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::External {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Pool {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Rule {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Settings {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::InsidePort {}
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
                .map(|interface| Uplink { interface, ..Uplink::default() })
                .collect();
            assert!(Uplinks::arrange(&uplinks, 0).is_some());
        }
        let one_more = [Uplink::default(); MAX_UPLINKS + 1];
        assert!(Uplinks::arrange(&one_more, 0).is_none());
    }
}
