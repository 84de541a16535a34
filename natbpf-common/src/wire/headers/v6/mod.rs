//! The IPv6 header and the extension headers behind it (RFC 8200).
//!
//! An IPv6 header does not say what the packet carries: extension headers may stand in between, and each says
//! what is behind it. They are followed here, so that [`Headers::protocol`], [`Headers::transport`] and
//! [`Headers::payload`] are what they are of IPv4. A segment with hop-by-hop options, behind Ethernet's
//! header:
//!
//! ```text
//!   14          54          62
//!    | IPv6      | options   | TCP               |
//!    network     |           transport           |
//!                |           |<---- payload ---->|
//!                |<---- the header's length ---->|
//! ```
//!
//! What another header hides is another protocol: ESP ([`ESP`](crate::wire::protocol::ESP)), "no next
//! header", and all that this does not know.
//!
//! A routing header with segments left makes the destination a stop on the path, while the transport checksum
//! covers the last one (RFC 8200, section 8.1). The packet is read like others; a translation of its
//! destination would have to know.

use network_types::{
    eth::{EthHdr, EtherType},
    ip::Ipv6Hdr,
};

use super::{FRAGMENT_OFFSET, Headers, Kind, MORE_FRAGMENTS, Network};
use crate::wire::{
    Address6,
    family::V6,
    packet::{Packet, View, view},
    protocol::extension,
};

/// Extension headers that are followed. A sender has no use for more: RFC 8200, section 4.1 wants each of the
/// five at most once, and destination options twice.
const MOST_EXTENSIONS: u32 = 6;

/// The flow label in the first word of the header, host order.
const FLOW_LABEL: u32 = 0x000f_ffff;

/// Shorter frames are filled up to this (`ETH_ZLEN`).
const SHORTEST_FRAME: u32 = 60;

/// No extension header is shorter, and what says how long it is stands within.
const EXTENSION: usize = 8;

/// The fields of an authentication header that are always there (RFC 4302, section 2).
const LEAST_AUTHENTICATION: u32 = 12;

impl Network for V6 {
    #[inline(always)]
    fn read_network<P: Packet>(headers: &mut Headers<Self>, packet: &mut P, offset: u32) -> Option<()> {
        let header = view::<P, { Ipv6Hdr::LEN }>(packet, offset)?;
        // Version, traffic class, flow label: 4, 8 and 20 bits.
        let first = u32::from_be(header.u32::<0>());
        let mut payload = u16::from_be(header.u16::<4>()) as u32;
        headers.network = offset;
        headers.service = (first >> 20) as u8;
        headers.time_to_live = header.u8::<7>();
        headers.source = address::<8, 12, 16, 20>(&header);
        headers.destination = address::<24, 28, 32, 36>(&header);
        let mut chain = Chain {
            protocol: header.u8::<6>(),
            at: offset + Ipv6Hdr::LEN as u32,
            rest: 0,
            fragment: 0,
            identification: 0,
        };
        let present = packet.length() - chain.at;
        if payload == 0 && packet.is_gso() {
            // Over 64 KiB ("BIG TCP") the field says nothing, whether a jumbo payload option stands there or
            // not. Jumbograms on the wire (RFC 2675) need a device that takes packets of more than 65,575
            // bytes. No Ethernet device does, so here they are malformed.
            payload = present;
        }
        chain.rest = payload;
        let malformed = first >> 28 != 6 || payload > present;
        headers.kind = if malformed { Kind::Malformed } else { chain.follow(packet) } as u32;
        headers.protocol = chain.protocol;
        headers.transport = chain.at;
        headers.payload = chain.rest;
        headers.fragment = chain.fragment;
        headers.identification = chain.identification;
        Some(())
    }
}

impl Headers<V6> {
    /// The headers of a frame that has nothing special: no tag in it, no extension header, nothing behind the packet
    /// but Ethernet's padding. `None`: it is another, or something is wrong with it.
    #[inline(always)]
    pub fn read_plain<P: Packet>(packet: &mut P) -> Option<Self> {
        const NETWORK: u32 = EthHdr::LEN as u32;
        const LENGTH: u32 = Ipv6Hdr::LEN as u32;
        let frame = view::<P, { EthHdr::LEN + Ipv6Hdr::LEN }>(packet, 0)?;
        let first = u32::from_be(frame.u32::<14>());
        let protocol = frame.u8::<20>();
        if frame.u16::<12>() != EtherType::Ipv6 as u16 || first >> 28 != 6 || extension::is_one(protocol) {
            return None;
        }
        let present = packet.length() - NETWORK - LENGTH;
        let payload = match u16::from_be(frame.u16::<18>()) as u32 {
            0 if packet.is_gso() => present,
            payload => payload,
        };
        if payload > present || payload != present && present > SHORTEST_FRAME - NETWORK - LENGTH {
            return None;
        }
        let mut headers = Self {
            network: NETWORK,
            transport: NETWORK + LENGTH,
            payload,
            source: Address6::from_wire([
                frame.u32::<22>(),
                frame.u32::<26>(),
                frame.u32::<30>(),
                frame.u32::<34>(),
            ]),
            destination: Address6::from_wire([
                frame.u32::<38>(),
                frame.u32::<42>(),
                frame.u32::<46>(),
                frame.u32::<50>(),
            ]),
            protocol,
            time_to_live: frame.u8::<21>(),
            service: (first >> 20) as u8,
            identification: first & FLOW_LABEL,
            kind: Kind::Forward as u32,
            ..Self::default()
        };
        headers.read_transport(packet)?;
        Some(headers)
    }
}

/// An address, by the offsets of its four words.
#[inline(always)]
fn address<const A: usize, const B: usize, const C: usize, const D: usize>(
    header: &View<{ Ipv6Hdr::LEN }>,
) -> Address6 {
    Address6::from_wire([header.u32::<A>(), header.u32::<B>(), header.u32::<C>(), header.u32::<D>()])
}

/// Where the reader is in the chain of headers. Apart from [`Headers`], because the verifier knows bounds of what is in
/// registers and on the stack, and forgets those of what is written elsewhere.
struct Chain {
    /// What stands at `at`.
    protocol: u8,
    at: u32,
    /// Bytes from there on. The packet has them.
    rest: u32,
    /// As in [`Headers`].
    fragment: u16,
    /// As in [`Headers`].
    identification: u32,
}

impl Chain {
    /// Goes on to what is no extension header, or behind the fragment header of a later fragment: the
    /// datagram's headers are in the first one.
    #[inline(always)]
    fn follow<P: Packet>(&mut self, packet: &mut P) -> Kind {
        let (first, mut is_split) = (self.at, false);
        for _ in 0..MOST_EXTENSIONS {
            if !extension::is_one(self.protocol) {
                return Kind::Forward;
            }
            let Some(header) = view::<P, EXTENSION>(packet, self.at) else { return Kind::Malformed };
            let length = extension::size(self.protocol, header.u8::<1>());
            let malformed = match self.protocol {
                // Every router looks at it, and looks nowhere else (RFC 8200, section 4.1).
                extension::HOP_BY_HOP => self.at != first,
                // A datagram is not part of two.
                extension::FRAGMENT => is_split,
                extension::AUTHENTICATION => length < LEAST_AUTHENTICATION,
                _ => false,
            };
            if malformed || length > self.rest {
                return Kind::Malformed;
            }
            if self.protocol == extension::FRAGMENT {
                is_split = true;
                self.read_fragment(&header);
            }
            self.protocol = header.u8::<0>();
            self.at += length;
            self.rest -= length;
            if self.fragment & FRAGMENT_OFFSET != 0 {
                return Kind::Fragment;
            }
        }
        if extension::is_one(self.protocol) { Kind::Malformed } else { Kind::Forward }
    }

    /// Reads a fragment header (RFC 8200, section 4.5). One that says neither "more" nor an offset is of a
    /// datagram that is whole (RFC 6946): that is no fragment.
    #[inline(always)]
    fn read_fragment(&mut self, header: &View<EXTENSION>) {
        // The offset in 13 bits, 2 reserved ones, the flag.
        let offset_and_more = u16::from_be(header.u16::<2>());
        self.fragment = (offset_and_more >> 3) | (MORE_FRAGMENTS * (offset_and_more & 1));
        self.identification = header.u32::<4>();
    }
}

#[cfg(test)]
mod tests;
