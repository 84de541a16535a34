//! Devices of which one is in a VRF (vrf.rst of the kernel's documents).

use std::net::Ipv4Addr;

use crate::{
    doctor::{Cause, Found, Inside, Router, Severity, Site, Stage, Uplink, way::OUTSIDE},
    facts::{Device, Lookup, Packet, Place, Query},
};

pub const CAUSES: &[Cause] = &[Cause {
    name: "vrf-apart",
    severity: Severity::Error,
    stage: Stage::Routing,
    title: "The router's way out is in another VRF than a network, and no route leads from one to the other",
    look,
}];

/// A way from a network to a device that leads out, in another VRF or in none.
struct Ways<'b, 'a> {
    router: &'b Router<'a>,
    inside: &'b Inside<'a>,
    outer: &'b Uplink<'a>,
}

impl Ways<'_, '_> {
    /// Whether packets are led from one device to the other; `None`: it is not known.
    fn is_led(&self, from: &Device, source: Ipv4Addr, to: &Device, destination: Ipv4Addr) -> Option<bool> {
        match self.router.place.lookup_with_vrfs(Query { input: &from.name, source, destination }) {
            Lookup::Leads(_, route) => Some(route.hops.iter().any(|hop| hop.device == to.index)),
            Lookup::Refused(..) | Lookup::Nowhere => Some(false),
            Lookup::Unknown(_) => None,
        }
    }

    fn leads_out_by(&self, output: &Device) -> Option<bool> {
        self.is_led(self.inside.device, self.inside.example(), output, OUTSIDE[0])
    }

    fn leads_home(&self) -> Option<bool> {
        self.is_led(self.outer.device, OUTSIDE[0], self.inside.device, self.inside.example())
    }

    /// Whether a rule translates the network there: others may be kept apart on purpose. What another device leads out
    /// is not meant.
    fn is_meant(&self) -> bool {
        let (device, out) = (self.inside.device, self.outer.device);
        let packet = Packet::forwarded(&device.name, &out.name, self.inside.example(), OUTSIDE[0]);
        let mut others = self.router.uplinks.iter().filter(|other| other.device.index != out.index);
        let elsewhere = others.any(|other| self.leads_out_by(other.device) == Some(true));
        !elsewhere && self.router.place.firewall.source(&packet).is_some()
    }

    fn found(&self) -> Option<Found> {
        let (place, device, out) = (self.router.place, self.inside.device, self.outer.device);
        let (leads_out, leads_home) = (self.leads_out_by(out)?, self.leads_home()?);
        if (leads_out && leads_home) || !self.is_meant() {
            return None;
        }
        let network = self.inside.network();
        let (one, other) = if place.vrf(device).is_some() { (device, out) } else { (out, device) };
        let vrf = &place.vrf(one)?.name;
        let what = if leads_out { "answers back to" } else { "packets out of" };
        let sentence = format!(
            "{} is in the VRF {vrf}{}, and {} is not: no route leads {what} {network}",
            one.name,
            place.within(),
            other.name
        );
        let mut found = Found::new(place, &one.name, sentence)
            .seen(format!("ip link show dev {}", one.name), format!("master {vrf}"));
        if !leads_out {
            let via = self.outer.gateway.map(|gateway| format!("via {gateway} ")).unwrap_or_default();
            let table = table_of(place, device);
            found = found.mend(place, format!("ip route add default {via}dev {}{table}", out.name));
        }
        if !leads_home {
            let table = table_of(place, out);
            found = found.mend(place, format!("ip route add {network} dev {}{table}", device.name));
        }
        Some(found)
    }
}

/// Names the table of a device's VRF, as `ip route` takes it.
fn table_of(place: &Place, device: &Device) -> String {
    let table = place.vrf(device).and_then(|vrf| vrf.table);
    table.map(|table| format!(" table {table}")).unwrap_or_default()
}

fn look(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        let vrf = |device| router.place.vrf(device).map(|vrf| vrf.index);
        for inside in &router.insides {
            let mut outer = router.uplinks.iter().filter(|uplink| vrf(uplink.device) != vrf(inside.device));
            found.extend(outer.find_map(|outer| Ways { router, inside, outer }.found()));
        }
    }
    found
}
