//! Workloads of the traffic generator, and what arrives of them.

use natbpf_common::{Address, Port};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a generated frame: the shortest that Ethernet has, without its checksum.
pub const FRAME: usize = 60;

/// First address of the destinations: 198.18.0.0/15 is set aside for benchmarks (RFC 2544, appendix C.2.2).
const DESTINATIONS: u32 = 0xc612_0000;
const DESTINATION_BITS: u32 = 15;

/// First source port. Endpoints have different ports, so that every one can keep its own.
const FIRST_PORT: u32 = 1024;

/// Inside endpoints; their flows differ by the destination.
const ENDPOINTS: u64 = 25_000;

/// How many endpoints share an address of an instance, where a hundred addresses are led to it.
pub const PORTS_PER_SOURCE: u32 = 250;

/// The same where the instance has one address and nobody takes another from it.
pub const ALL_PORTS: u32 = ENDPOINTS as u32;

/// What to generate; the only value of its map.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Workload {
    /// Number of the first flow.
    pub first: u64,
    /// How many turns there are before the first one comes again: flows, or as long as the generator's sequence is.
    pub turns: u64,
    /// Not 0: the generator's sequence says which flow has which turn. Otherwise they have them as they are numbered.
    pub in_sequence: u64,
    /// Source address of the first endpoint.
    pub source: Address,
    /// The address outside that packets come from after translation, and that replies go to. Unspecified
    /// where nothing translates.
    pub external: Address,
    /// The Ethernet header, two bytes as they are in the packet in each.
    pub ethernet: [u16; 7],
    /// Not 0: packets of the reply direction.
    pub reply: u16,
    /// How many endpoints share an address.
    pub ports_per_source: u32,
    /// Not 0: flows begin outside, at this port of [`Workload::external`], which leads to [`Workload::service`] of the
    /// instance. What would be an endpoint's port is the port outside then.
    pub published: Port,
    pub service: Port,
}

/// The tuple of a generated packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    pub source: Address,
    pub destination: Address,
    pub source_port: Port,
    pub destination_port: Port,
}

/// What arrived at the sink, one value a processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Received {
    /// Packets from [`Workload::external`]; replies to an endpoint's own address.
    pub expected: u64,
    /// Others.
    pub other: u64,
}

impl Workload {
    /// Whose turn it is, by the number of the packet.
    #[inline(always)]
    pub const fn turn(&self, packet: u64) -> u64 {
        // Division by zero would be a panic, which a BPF program cannot have.
        if self.turns == 0 { 0 } else { packet % self.turns }
    }

    /// The tuple of a flow, by its number after the first one.
    #[inline(always)]
    pub const fn flow(&self, number: u64) -> Tuple {
        let number = self.first + number;
        let endpoint = (number % ENDPOINTS) as u32;
        let destination = (number / ENDPOINTS) as u32 & ((1 << (32 - DESTINATION_BITS)) - 1);
        let destination = Address::from_wire((DESTINATIONS | destination).to_be());
        let port = Port::new((FIRST_PORT + endpoint) as u16);
        if self.is_published() {
            let (source, source_port) = (self.source, self.service);
            return Tuple { source, destination, source_port, destination_port: port };
        }
        let place = match endpoint.checked_div(self.ports_per_source) {
            Some(place) => place,
            None => 0,
        };
        let source = u32::from_be(self.source.to_wire()).wrapping_add(place);
        Tuple {
            source: Address::from_wire(source.to_be()),
            destination,
            source_port: port,
            destination_port: Port::new(9),
        }
    }

    /// The tuple of a flow as the packet has it that the generator makes: a reply comes from the flow's destination, to
    /// what stands for the source outside.
    #[inline(always)]
    pub const fn sent(&self, number: u64) -> Tuple {
        let flow = self.flow(number);
        if self.reply == 0 {
            return flow;
        }
        let translated = self.external.to_wire() != Address::UNSPECIFIED.to_wire();
        Tuple {
            source: flow.destination,
            destination: if translated { self.external } else { flow.source },
            source_port: flow.destination_port,
            destination_port: if self.is_published() { self.published } else { flow.source_port },
        }
    }

    /// Whether the sink counts a packet with these addresses (their octets as one native integer) as expected.
    /// `None`: it is not of a workload.
    #[inline(always)]
    pub const fn is_expected(&self, source: u32, destination: u32) -> Option<bool> {
        let (outside, expected) = if self.reply == 0 {
            (destination, source == self.external.to_wire())
        } else {
            (source, self.is_source(destination))
        };
        if Self::is_destination(outside) { Some(expected) } else { None }
    }

    #[inline(always)]
    const fn is_published(&self) -> bool {
        self.published.to_wire() != 0
    }

    /// Whether an address is that of an endpoint.
    #[inline(always)]
    const fn is_source(&self, address: u32) -> bool {
        let place = u32::from_be(address).wrapping_sub(u32::from_be(self.source.to_wire()));
        self.ports_per_source != 0 && place < ENDPOINTS as u32 / self.ports_per_source
    }

    /// Whether an address is one that workloads are sent to.
    #[inline(always)]
    const fn is_destination(address: u32) -> bool {
        u32::from_be(address) >> (32 - DESTINATION_BITS) == DESTINATIONS >> (32 - DESTINATION_BITS)
    }
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::Workload {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Received {}
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, net::Ipv4Addr};

    use super::*;

    #[test]
    fn flows_differ_and_endpoints_have_ports_of_their_own() {
        let source = Ipv4Addr::new(10, 0, 0, 16).into();
        let workload =
            Workload { turns: 60_000, source, ports_per_source: PORTS_PER_SOURCE, ..Workload::default() };
        let tuples: Vec<Tuple> = (0..60_000).map(|number| workload.flow(number)).collect();
        assert_eq!(tuples.iter().collect::<HashSet<_>>().len(), 60_000);
        assert!(tuples.iter().all(|tuple| Workload::is_destination(tuple.destination.to_wire())));
        let endpoints: HashSet<_> = tuples.iter().map(|tuple| (tuple.source, tuple.source_port)).collect();
        let ports: HashSet<_> = endpoints.iter().map(|(_, port)| *port).collect();
        assert_eq!(endpoints.len() as u64, ENDPOINTS);
        assert_eq!(ports.len(), endpoints.len());
        assert_eq!([59_999, 60_000].map(|packet| workload.turn(packet)), [59_999, 0], "they take turns");
        assert_eq!(Workload::default().turn(7), 0);
        let last = tuples.iter().map(|tuple| Ipv4Addr::from(tuple.source)).max().unwrap();
        assert_eq!(last, Ipv4Addr::new(10, 0, 0, 115));
    }

    #[test]
    fn replies_turn_the_flow_around() {
        let source = Ipv4Addr::new(10, 0, 0, 16).into();
        let external: Address = Ipv4Addr::new(203, 0, 113, 1).into();
        let ports_per_source = PORTS_PER_SOURCE;
        let original = Workload { turns: 60_000, source, external, ports_per_source, ..Workload::default() };
        let reply = Workload { reply: 1, ..original };
        let plain = Workload { external: Address::UNSPECIFIED, ..reply };
        for number in [0, 251, 59_999] {
            let there = original.sent(number);
            let back = reply.sent(number);
            assert_eq!((back.source, back.source_port), (there.destination, there.destination_port));
            assert_eq!((back.destination, back.destination_port), (external, there.source_port));
            assert_eq!(plain.sent(number).destination, there.source);
            let wire = |address: Address| address.to_wire();
            let expected = |workload: &Workload, source, destination| {
                workload.is_expected(wire(source), wire(destination))
            };
            assert_eq!(expected(&original, external, there.destination), Some(true));
            assert_eq!(expected(&original, there.source, there.destination), Some(false));
            assert_eq!(expected(&original, there.destination, there.source), None);
            assert_eq!(expected(&reply, there.destination, there.source), Some(true));
            assert_eq!(expected(&reply, there.destination, external), Some(false));
        }
    }

    #[test]
    fn a_published_port_is_asked_from_outside() {
        let source: Address = Ipv4Addr::new(172, 17, 0, 2).into();
        let external = Ipv4Addr::new(203, 0, 113, 1).into();
        let original = Workload {
            turns: 60_000,
            source,
            external,
            ports_per_source: ALL_PORTS,
            published: Port::new(7007),
            service: Port::new(7),
            ..Workload::default()
        };
        let reply = Workload { reply: 1, ..original };
        let tuples: HashSet<Tuple> = (0..60_000).map(|number| reply.sent(number)).collect();
        assert_eq!(tuples.len(), 60_000);
        let (there, back) = (reply.sent(251), original.sent(251));
        assert_eq!((there.destination, there.destination_port), (external, Port::new(7007)));
        assert_eq!((back.source, back.source_port), (source, Port::new(7)));
        assert_eq!((back.destination, back.destination_port), (there.source, there.source_port));
        let arrived = |source: Address, destination: Address| {
            reply.is_expected(source.to_wire(), destination.to_wire())
        };
        assert_eq!(arrived(there.source, source), Some(true));
        assert_eq!(arrived(there.source, Ipv4Addr::new(172, 17, 0, 3).into()), Some(false));
    }
}
