//! Two routers on one host, each of which translates.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    doctor::{
        Cause, End, Found, Segment, Severity, Site, Stage, Uplink,
        way::{OUTSIDE, packets},
    },
    facts::{Host, Lookup, Place, Query, SourceNat, Verdict},
};

pub const CAUSES: &[Cause] = &[Cause {
    name: "translated-twice",
    severity: Severity::Note,
    stage: Stage::Translation,
    title: "A network is translated by its router, and once more by the next one on this host",
    look,
}];

/// What translates each packet that a network sends out.
fn translates(place: &Place, input: &str, output: &str, source: Ipv4Addr) -> Option<(Verdict, SourceNat)> {
    let rule = |packet| {
        let tracked = place.firewall.untracks(&packet).is_none();
        place.firewall.source(&packet).filter(|_| tracked)
    };
    let rules: Option<Vec<_>> = packets(input, output, source).map(rule).collect();
    rules?.into_iter().next()
}

/// The device that the gateway behind an uplink is, if one namespace has it.
pub fn next<'a>(host: &'a Host, place: &'a Place, uplink: &Uplink<'a>) -> Option<End<'a>> {
    let gateway = IpAddr::V4(uplink.gateway?);
    let segment = Segment::of(host, (place, uplink.device), |_| true);
    let mut owners = segment.members().filter(|(there, device)| {
        there.cookie != place.cookie && there.addresses_of(device).any(|own| own.net.addr() == gateway)
    });
    let owner = owners.next()?;
    owners.next().is_none().then_some(owner)
}

/// The address that packets leave with.
fn sender(place: &Place, uplink: &Uplink<'_>, nat: &SourceNat) -> Option<Ipv4Addr> {
    if nat.to.is_some() {
        return nat.single();
    }
    let gateway = IpAddr::V4(uplink.gateway?);
    place.addresses_of(uplink.device).find_map(|own| match own.net.addr() {
        IpAddr::V4(address) if own.net.contains(&gateway) => Some(address),
        _ => None,
    })
}

/// It works, so it is worth knowing alone.
fn look(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in site.routers.iter().filter(|router| router.place.forwards()) {
        let place = router.place;
        for (inside, uplink) in router.ways_out() {
            let once = || {
                let (first, nat) =
                    translates(place, &inside.device.name, &uplink.device.name, inside.example())?;
                let (there, input) = next(site.host, place, &uplink).filter(|(there, _)| there.forwards())?;
                let source = sender(place, &uplink, &nat)?;
                let query = Query { input: &input.name, source, destination: OUTSIDE[0] };
                let Lookup::Leads(_, route) = there.lookup(query) else { return None };
                let output = there.device(route.hops.first()?.device)?;
                let (second, _) = translates(there, &input.name, &output.name, source)?;
                Some((first, source, there, &output.name, second))
            };
            let Some((first, source, there, output, second)) = once() else { continue };
            let network = inside.network();
            let sentence = format!(
                "packets of {network} are translated{}, and once more{}: two tables of flows have to have \
                 room for each, and who forwards a port has to do it in both",
                place.within(),
                there.within()
            );
            let masquerade = format!("iptables -t nat -I POSTROUTING -s {network} -o {output} -j MASQUERADE");
            found.push(
                Found::new(place, network.to_string(), sentence)
                    .seen_rule(&first)
                    .seen_rule(&second)
                    .mend(there, format!("ip route add {network} via {source}"))
                    .mend(there, masquerade)
                    .mend(place, first.deleted("nat")),
            );
        }
    }
    found
}
