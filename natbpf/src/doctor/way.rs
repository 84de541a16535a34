//! Where packets of a network of instances go, and where the answers to them do.

use std::net::{IpAddr, Ipv4Addr};

use super::{Inside, Router, Site, Uplink};
use crate::facts::{Device, Hook, Host, Lookup, Packet, Place, Query, Route, Verdict};

pub use super::outside::OUTSIDE;

/// What instances send most: a web page's, a name server's, and a ping.
const PROTOCOLS: [(u8, u16); 3] = [(6, 443), (17, 53), (1, 0)];

impl<'a> Router<'a> {
    /// What the routing policy says of a packet of a network to the outside.
    pub fn outward(&self, inside: &Inside<'_>) -> Lookup<'a> {
        let (source, destination) = (inside.example(), OUTSIDE[0]);
        self.place.lookup(Query { input: &inside.device.name, source, destination })
    }

    /// Where such packets leave; `None`: nowhere, or it is not known.
    pub fn way_out(&self, inside: &Inside<'_>) -> Option<Uplink<'a>> {
        let Lookup::Leads(_, Route { hops, .. }) = self.outward(inside) else { return None };
        let hop = hops.first()?;
        let gateway = match hop.gateway {
            Some(IpAddr::V4(gateway)) => Some(gateway),
            _ => None,
        };
        let device = self.place.device(hop.device).filter(|device| device.index != inside.device.index)?;
        Some(Uplink { device, gateway })
    }

    /// Networks with the ways by which their packets leave.
    pub fn ways_out<'b>(&'b self) -> impl Iterator<Item = (&'b Inside<'a>, Uplink<'a>)> {
        self.insides.iter().filter_map(|inside| Some((inside, self.way_out(inside)?)))
    }

    /// Those of them where the kernel translates, and not natbpf.
    pub fn ways_by_kernel<'b>(
        &'b self,
        host: &'b Host,
    ) -> impl Iterator<Item = (&'b Inside<'a>, Uplink<'a>)> {
        self.ways_out().filter(|(_, uplink)| {
            !host.natbpf.iter().any(|own| own.translates_at(self.place.cookie, uplink.device.index))
        })
    }

    /// Where an answer goes that comes by a device.
    pub fn homeward(&self, input: &Device, instance: Ipv4Addr) -> Lookup<'a> {
        self.place.lookup(Query { input: &input.name, source: OUTSIDE[0], destination: instance })
    }
}

/// The ways of networks that are not known, and so are not looked at.
pub fn unknown(host: &Host) -> Vec<String> {
    let site = Site::of(host);
    let mut unknown = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        for inside in &router.insides {
            let back = router.way_out(inside).map(|uplink| router.homeward(uplink.device, inside.example()));
            let ways = [("what", Some(router.outward(inside))), ("answers to what", back)];
            for (what, way) in ways {
                let Some(Lookup::Unknown(Some(rule))) = way else { continue };
                unknown.push(format!(
                    "the way of {what} {} sends{}: whether the rule `{}: {rule}` is for it is not known",
                    inside.network(),
                    router.place.within(),
                    rule.priority
                ));
            }
        }
    }
    unknown
}

/// Packets of all kinds from one device to another.
pub fn packets(input: &str, output: &str, source: Ipv4Addr) -> impl Iterator<Item = Packet> {
    PROTOCOLS.into_iter().flat_map(move |(protocol, port)| {
        OUTSIDE.map(|outside| Packet {
            protocol,
            port,
            source_port: if port == 0 { 0 } else { 40_000 },
            ..Packet::forwarded(input, output, source, outside)
        })
    })
}

/// The answers to [`packets`].
pub fn answers(input: &str, output: &str, instance: Ipv4Addr) -> impl Iterator<Item = Packet> {
    packets(input, output, instance).map(|packet| Packet {
        source: packet.destination,
        destination: packet.source,
        source_port: packet.port,
        port: packet.source_port,
        established: true,
        ..packet
    })
}

/// What surely drops every one of the packets: the first one's.
pub fn drops_all(place: &Place, hooks: &[Hook], packets: impl Iterator<Item = Packet>) -> Option<Verdict> {
    let drops: Option<Vec<_>> = packets.map(|packet| place.firewall.drops(hooks, &packet)).collect();
    drops?.into_iter().next()
}
