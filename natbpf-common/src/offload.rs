//! Offload: how the kernel has forwarded the packets of a flow, so that the datapath can repeat it.
//!
//! The kernel decides: a packet that comes in by an inside port, or by the uplink, is remembered ([`crate::crossing`]), takes its ordinary
//! way through the stack, and is seen again where it leaves. There the way is noted in the flow's entry of its direction, and the packets
//! after it are sent that way at once. What was noted holds for a time and for an epoch; then one packet asks the kernel again.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    Nanoseconds,
    headers::{Headers, Kind},
    keyed::Keys,
    protocol::{self, TCP, UDP},
    tcp,
};

/// The noted way of one direction of a flow; the other cache line of its entry. 32 bytes without padding.
///
/// Written under the lock that [`Validity::BUSY`] is. Who reads it reads `validity` before and after: if it is the same, so is the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Offload {
    /// A [`Validity`].
    pub validity: u64,
    /// [`Frame::fingerprint`] of the frames that it is for, as they come in.
    pub frame: u64,
    /// The frame's destination and source as it leaves; as three words, as they stand there.
    pub ethernet: [u32; 3],
    /// Interface index of the inside port: where packets of the original direction come in, and those of the reply direction go out, the
    /// latter with [`Offload::PEER`]. The other end of the way is the flow's uplink.
    pub port: u32,
}

impl Offload {
    /// The port is one end of a veth pair whose other end is in another network namespace: straight there. A bit that no interface index
    /// has.
    pub const PEER: u32 = 1 << 31;
}

/// The clock of validities: nanoseconds shifted by this, about a millisecond.
const TICK_SHIFT: u32 = 20;

/// A duration or a moment in units of 2^20 ns; wraps after 52 days.
pub type Ticks = u32;

#[inline(always)]
pub const fn ticks(time: Nanoseconds) -> Ticks {
    (time >> TICK_SHIFT) as Ticks
}

/// How long a noted way holds, for which epoch, and for packets of which length; one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub until: Ticks,
    /// [`Gauge::Epoch`](crate::config::Gauge::Epoch) when it was noted.
    pub epoch: u16,
    /// Longest IPv4 packet, or segment of one, that the kernel has let through.
    pub size: u16,
}

impl Validity {
    /// Nothing is noted.
    pub const NONE: u64 = 0;
    /// It is being written.
    pub const BUSY: u64 = 1;

    /// Valid from now on. The epoch is not 0, so the word is neither of the two above.
    #[inline(always)]
    pub const fn new(now: Ticks, lasts: Ticks, epoch: u16, size: u16) -> Self {
        Self { until: now.wrapping_add(lasts), epoch, size }
    }

    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.until as u64 | (self.epoch as u64) << 32 | (self.size as u64) << 48
    }

    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self { until: word as u32, epoch: (word >> 32) as u16, size: (word >> 48) as u16 }
    }

    /// Whether it holds at that time. `epoch` is not 0.
    #[inline(always)]
    pub const fn holds(self, now: Ticks, epoch: u16) -> bool {
        self.epoch == epoch && self.until.wrapping_sub(now).cast_signed() > 0
    }
}

/// How long a way noted now holds: up to a quarter less than the interval, by the flow, so that not all ask again at once.
#[inline(always)]
pub const fn spread(interval: Ticks, seed: u32) -> Ticks {
    interval - (((interval as u64 >> 2) * (seed as u64 & 0xff)) >> 8) as u32
}

/// Whose packets a noted way is for, as the frame says when it comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Interface index.
    pub interface: u32,
    /// The first twelve bytes: destination and source.
    pub ethernet: [u32; 3],
    /// Tag in the buffer's metadata: protocol and TCI; 0: none.
    pub vlan: u32,
    /// Type of service of the IPv4 header. Routes and rules may depend on DSCP; ECN is the network's, and changes on the way.
    pub service: u8,
}

/// The bits of the type of service that are not ECN (RFC 3168, section 5).
const DSCP: u8 = 0xfc;

impl Frame {
    /// A keyed hash, see [`Keys`]. Of a frame from inside: another source is another instance.
    #[inline(always)]
    pub const fn fingerprint(&self, keys: &Keys) -> u64 {
        let [first, second, third] = self.ethernet;
        keys.hash(&[first, second, third, self.interface, self.vlan, (self.service & DSCP) as u32])
    }

    /// Of a frame from outside: routers may send by turns, so the source does not count.
    #[inline(always)]
    pub const fn without_source(self) -> Self {
        let [first, second, _] = self.ethernet;
        // Two bytes of the destination are in the second word, in memory's order.
        let [a, b, _, _] = second.to_ne_bytes();
        Self { ethernet: [first, u32::from_ne_bytes([a, b, 0, 0]), 0], ..self }
    }
}

/// Whether the first word of a frame begins the address of a group (IEEE 802.3, section 3.2.3): it may be for many.
#[inline(always)]
pub const fn is_group(ethernet: u32) -> bool {
    ethernet.to_ne_bytes()[0] & 1 != 0
}

/// `skb->priority` of a packet that the kernel has forwarded (`rt_tos2priority`): by it queueing disciplines choose the band.
#[inline(always)]
pub const fn priority(service: u8) -> u32 {
    // TC_PRIO_BESTEFFORT, _BULK, _INTERACTIVE, _INTERACTIVE_BULK of linux/pkt_sched.h, by two bits of the type of service.
    const PRIORITIES: u32 = 0x4620;
    PRIORITIES >> ((service >> 3 & 3) << 2) & 0xf
}

/// Whether a packet is one that may be repeated: to one host, no beginning and no end, no fragment, no options, no tag in the frame,
/// nothing that the kernel answers. `link_header` is Ethernet's.
#[inline(always)]
pub const fn is_plain(headers: &Headers, link_header: u32) -> bool {
    let forward = headers.is(Kind::Forward) || headers.is(Kind::IcmpReply);
    let simple =
        headers.network == link_header && headers.transport == headers.network + 20 && !headers.is_fragment();
    let running = headers.protocol != TCP || headers.tcp_flags & (tcp::SYN | tcp::FIN | tcp::RST) == 0;
    forward && simple && running && headers.time_to_live > 1 && !headers.destination.is_for_many()
}

/// Length of the IPv4 packet, or of the longest segment that will be cut from it. More than 16 bits: no way is for it.
#[inline(always)]
pub const fn size(headers: &Headers, gso_size: u32) -> u32 {
    let header = headers.transport - headers.network;
    if gso_size == 0 {
        return header + headers.payload;
    }
    let transport = match headers.protocol {
        TCP => headers.tcp_header as u32,
        UDP => 8,
        // Nothing else is cut that natbpf translates; nothing is as long as this.
        _ => u16::MAX as u32 + 1,
    };
    header + transport + gso_size
}

/// Whether packets of a protocol are repeated at all. Others are rare, and have checksums of their own.
#[inline(always)]
pub const fn is_for(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | protocol::ICMP)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SECOND;

    proptest! {
        #[test]
        fn a_validity_survives_its_word(until: u32, epoch: u16, size: u16) {
            let validity = Validity { until, epoch, size };
            prop_assert_eq!(Validity::from_word(validity.to_word()), validity);
        }

        #[test]
        fn it_holds_for_its_time_and_epoch(now: u32, lasts in 1..1u32 << 30, later in 0..1u32 << 30, epoch in 1..=u16::MAX) {
            let validity = Validity::new(now, lasts, epoch, 1500);
            prop_assert_eq!(validity.holds(now.wrapping_add(later), epoch), later < lasts);
            prop_assert!(!validity.holds(now, epoch ^ 1));
            prop_assert!(validity.to_word() != Validity::NONE && validity.to_word() != Validity::BUSY);
        }

        #[test]
        fn the_spread_is_within_a_quarter(interval in 0..1u32 << 30, seed: u32) {
            let lasts = spread(interval, seed);
            prop_assert!(lasts <= interval && lasts >= interval - interval / 4);
        }

        #[test]
        fn every_part_of_a_frame_counts(interface: u32, ethernet: [u32; 3], vlan: u32, service: u8, bit in 0..168u32, secret: [u8; Keys::BYTES]) {
            let keys: Keys = zerocopy::transmute!(secret);
            let frame = Frame { interface, ethernet, vlan, service };
            let mut other = frame;
            match bit / 32 {
                0 => other.interface ^= 1 << bit,
                1 => other.vlan ^= 1 << (bit % 32),
                5 => other.service ^= 1 << (bit % 8),
                n => other.ethernet[n as usize - 2] ^= 1 << (bit % 32),
            }
            let ecn = bit >= 160 && bit % 8 < 2;
            prop_assert_eq!(frame.fingerprint(&keys) == other.fingerprint(&keys), ecn);
        }
    }

    #[test]
    fn priorities_are_the_kernels() {
        // ip_tos2prio of net/ipv4/route.c.
        let table = [0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4];
        for service in 0..=u8::MAX {
            assert_eq!(priority(service), table[usize::from(service >> 1 & 15)], "{service:#x}");
        }
    }

    #[test]
    fn groups_have_the_first_bit() {
        let word = |bytes| u32::from_ne_bytes(bytes);
        assert!(
            is_group(word([0xff, 0xff, 0xff, 0xff]))
                && is_group(word([1, 0, 0x5e, 0]))
                && is_group(word([0x33, 0x33, 0, 0]))
        );
        assert!(!is_group(word([2, 0xff, 0xff, 0xff])) && !is_group(0));
    }

    #[test]
    fn nothing_noted_holds_never() {
        for word in [Validity::NONE, Validity::BUSY] {
            assert!(!Validity::from_word(word).holds(0, 1));
            assert!(!Validity::from_word(word).holds(u32::MAX, 1));
        }
        assert_eq!(ticks(10 * SECOND), 9536);
    }

    #[test]
    fn the_source_of_a_router_does_not_count() {
        let bytes = |bytes: [u8; 12]| -> [u32; 3] {
            let word =
                |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            [word(0), word(4), word(8)]
        };
        let frame = |ethernet| Frame { interface: 2, ethernet: bytes(ethernet), vlan: 0, service: 0 };
        let one = frame([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let other_source = frame([1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0]);
        let other_destination = frame([1, 2, 3, 4, 5, 7, 7, 8, 9, 10, 11, 12]);
        assert_eq!(one.without_source(), other_source.without_source());
        assert_ne!(one.without_source(), other_destination.without_source());
    }

    fn tcp(tcp_flags: u8) -> Headers {
        Headers {
            network: 14,
            transport: 34,
            payload: 1480,
            protocol: TCP,
            tcp_flags,
            tcp_header: 32,
            time_to_live: 64,
            ..Headers::default()
        }
    }

    #[test]
    fn only_plain_packets_are_repeated() {
        let plain = tcp(tcp::ACK);
        assert!(is_plain(&plain, 14));
        for flag in [tcp::SYN, tcp::FIN, tcp::RST] {
            assert!(!is_plain(&tcp(tcp::ACK | flag), 14));
        }
        assert!(!is_plain(&Headers { time_to_live: 1, ..plain }, 14));
        assert!(!is_plain(&Headers { fragment: 1, ..plain }, 14));
        assert!(!is_plain(&Headers { transport: 38, ..plain }, 14));
        assert!(!is_plain(&Headers { network: 18, transport: 38, ..plain }, 14));
        for address in [[224, 0, 0, 1], [239, 1, 2, 3], [255, 255, 255, 255]] {
            let destination = core::net::Ipv4Addr::from(address).into();
            assert!(!is_plain(&Headers { destination, ..plain }, 14));
        }
        for kind in [Kind::IcmpError, Kind::IcmpOther, Kind::Fragment, Kind::Malformed] {
            assert!(!is_plain(&Headers { kind: kind as u32, ..plain }, 14));
        }
    }

    #[test]
    fn what_is_cut_counts_by_the_segment() {
        assert_eq!(size(&tcp(tcp::ACK), 0), 1500);
        assert_eq!(size(&Headers { payload: 60_000, ..tcp(tcp::ACK) }, 1448), 1500);
        assert_eq!(size(&Headers { protocol: UDP, payload: 60_000, ..tcp(0) }, 1472), 1500);
        assert!(size(&Headers { protocol: protocol::ICMP, ..tcp(0) }, 100) > u32::from(u16::MAX));
    }
}
