//! Whether instances get an address.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    doctor::{Cause, Domain, Found, Inside, Router, Severity, Site, Stage},
    facts::{Daemon, Device, Dnsmasq, Host, Place},
};

/// Ports of servers and of clients (RFC 2131).
const SERVER: u16 = 67;
const CLIENT: u16 = 68;

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "instance-no-address",
        severity: Severity::Error,
        stage: Stage::Instance,
        title: "An instance has no address, and nothing in it asks for one",
        look: no_address,
    },
    Cause {
        name: "dhcp-no-server",
        severity: Severity::Error,
        stage: Stage::Instance,
        title: "An instance asks for an address, and no DHCP server is on its network",
        look: no_server,
    },
    Cause {
        name: "dhcp-server-elsewhere",
        severity: Severity::Error,
        stage: Stage::Instance,
        title: "An instance asks for an address, and dnsmasq serves other devices alone",
        look: elsewhere,
    },
    Cause {
        name: "dhcp-range-elsewhere",
        severity: Severity::Error,
        stage: Stage::Instance,
        title: "An instance asks for an address, and dnsmasq has none of the network of its device",
        look: other_range,
    },
    Cause {
        name: "dhcp-gateway-nobody",
        severity: Severity::Error,
        stage: Stage::Instance,
        title: "DHCP tells instances of a gateway that nobody on their network is",
        look: gateway_of_nobody,
    },
    Cause {
        name: "dhcp-leases-used-up",
        severity: Severity::Warning,
        stage: Stage::Instance,
        title: "All addresses of a range of dnsmasq are lent out",
        look: used_up,
    },
    Cause {
        name: "dhcp-two-servers",
        severity: Severity::Note,
        stage: Stage::Instance,
        title: "Two DHCP servers are on one network: the one that is faster is asked",
        look: two_servers,
    },
];

/// An instance without an address.
struct Waiting<'a> {
    router: &'a Router<'a>,
    inside: &'a Inside<'a>,
    place: &'a Place,
    device: &'a Device,
    domain: Domain<'a>,
}

impl Waiting<'_> {
    /// Whether something in it asks for an address.
    fn asks(&self, host: &Host) -> bool {
        let waits = self.place.sockets.iter().flatten().any(|socket| socket.port == CLIENT);
        let takes = self.place.tapped.contains(&self.device.index);
        waits
            || takes
            || host.daemons.iter().any(|daemon| daemon.is_client() && daemon.namespace == self.place.inode)
    }

    fn name(&self) -> String {
        format!("{}{}", self.device.name, self.place.within())
    }
}

fn waiting<'a>(site: &'a Site<'a>) -> Vec<Waiting<'a>> {
    let mut waiting = Vec::new();
    for router in &site.routers {
        for inside in &router.insides {
            let domain = || Domain::of(site.host, router.place, inside.device);
            let without = domain().ends.into_iter().filter(|(place, device)| {
                place.cookie != router.place.cookie && device.is("veth") && has_nothing(place, device)
            });
            waiting.extend(without.map(|(place, device)| Waiting {
                router,
                inside,
                place,
                device,
                domain: domain(),
            }));
        }
    }
    waiting
}

/// Whether a device is ready and its namespace has no address but those that every one has, and nothing by which it
/// might have one elsewhere.
fn has_nothing(place: &Place, device: &Device) -> bool {
    let usual = |address: IpAddr| match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
    };
    let alone = place.devices.iter().filter(|other| other.is_ethernet()).count() == 1;
    device.up && device.carrier && alone && place.addresses.iter().all(|address| usual(address.net.addr()))
}

/// Those who ask.
fn asking<'a>(site: &'a Site<'a>) -> impl Iterator<Item = Waiting<'a>> {
    waiting(site).into_iter().filter(|instance| instance.asks(site.host))
}

fn no_address(site: &Site<'_>) -> Vec<Found> {
    let silent = waiting(site).into_iter().filter(|instance| !instance.asks(site.host));
    silent
        .map(|instance| {
            let sentence = format!(
                "the instance's {} has no address, and no program there asks for one, so it sends nothing to {}",
                instance.name(),
                instance.inside.network()
            );
            let length = instance.inside.net.prefix_len();
            let mend = format!("ip address add ADDRESS/{length} dev {}", instance.device.name);
            Found::new(instance.place, &instance.device.name, sentence)
                .seen(format!("ip address show dev {}", instance.device.name), "no address")
                .seen("/proc/net/udp", format!("nobody waits at port {CLIENT}"))
                .seen("/proc/net/packet", "no socket for IPv4 at it")
                .mend(instance.place, mend)
                .mend(
                    instance.place,
                    format!("ip route add default via {} dev {}", instance.inside.net.addr(), instance.device.name),
                )
        })
        .collect()
}

fn serves(place: &Place) -> usize {
    place.sockets.iter().flatten().filter(|socket| socket.port == SERVER).count()
}

fn no_server(site: &Site<'_>) -> Vec<Found> {
    let alone = asking(site).filter(|instance| {
        let places = instance.domain.places();
        instance.domain.closed && places.iter().all(|place| place.sockets.is_some() && serves(place) == 0)
    });
    alone
        .map(|instance| {
            let network = instance.inside.network();
            let sentence = format!(
                "{} asks for an address and gets none: no DHCP server is on {network}",
                instance.name()
            );
            let [first, last] = upper_half(instance.inside);
            let mend = format!(
                "dnsmasq --port=0 --bind-interfaces --interface={} --dhcp-range={first},{last},1h",
                instance.inside.device.name
            );
            Found::new(instance.router.place, network.to_string(), sentence)
                .seen(
                    "/proc/net/udp",
                    format!("nobody waits at port {SERVER} in any namespace of the network"),
                )
                .mend(instance.router.place, mend)
        })
        .collect()
}

/// The addresses of a network that are the least likely to be given by hand.
fn upper_half(inside: &Inside<'_>) -> [Ipv4Addr; 2] {
    let (first, last) = (u32::from(inside.net.network()), u32::from(inside.net.broadcast()));
    [first + (last - first) / 2 + 1, last - 1].map(Ipv4Addr::from)
}

/// The one who lends addresses in a namespace, if that is certain: it is dnsmasq, all that it was told is known, and
/// nobody else waits where clients ask.
fn lender<'a>(host: &'a Host, place: &Place) -> Option<&'a Dnsmasq> {
    let daemons: Vec<&Daemon> =
        host.daemons.iter().filter(|daemon| daemon.namespace == place.inode).collect();
    let mut lenders = daemons.iter().filter_map(|daemon| daemon.dnsmasq.as_ref());
    let lender = lenders.find(|dnsmasq| !dnsmasq.complete || !dnsmasq.ranges().is_empty())?;
    (lender.complete && lenders.next().is_none() && serves(place) == 1).then_some(lender)
}

/// The addresses of a device.
fn numbers(place: &Place, device: &Device) -> Vec<Ipv4Addr> {
    let v4 = place.addresses_of(device).filter_map(|address| match address.net.addr() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    v4.collect()
}

/// Whether the router is the only one on a segment who lends addresses.
fn alone_lends<'a>(host: &'a Host, instance: &Waiting<'_>) -> Option<&'a Dnsmasq> {
    let others = instance.domain.places().into_iter();
    let mut others = others.filter(|place| place.cookie != instance.router.place.cookie);
    let alone = instance.domain.closed && others.all(|place| serves(place) == 0);
    lender(host, instance.router.place).filter(|_| alone)
}

fn elsewhere(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for instance in asking(site) {
        let (place, device) = (instance.router.place, instance.inside.device);
        let Some(dnsmasq) = alone_lends(site.host, &instance) else { continue };
        if dnsmasq.serves(&device.name, &numbers(place, device)) {
            continue;
        }
        let sentence = format!(
            "{} asks for an address and gets none: dnsmasq{} does not answer on {}",
            instance.name(),
            place.within(),
            device.name
        );
        let told = dnsmasq.told_where().join(" ");
        let mend = format!(
            "dnsmasq --interface={} --dhcp-range={},{},1h",
            device.name,
            upper_half(instance.inside)[0],
            upper_half(instance.inside)[1]
        );
        found.push(
            Found::new(place, &device.name, sentence).seen("arguments of dnsmasq", told).mend(place, mend),
        );
    }
    found
}

fn other_range(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for instance in asking(site) {
        let (place, device) = (instance.router.place, instance.inside.device);
        let Some(dnsmasq) = alone_lends(site.host, &instance) else { continue };
        let ranges = dnsmasq.ranges();
        let fits = |network: Ipv4Addr| {
            place.addresses_of(device).any(|address| address.net.contains(&IpAddr::V4(network)))
        };
        if !dnsmasq.serves(&device.name, &numbers(place, device))
            || ranges.iter().any(|range| fits(range.first))
        {
            continue;
        }
        let Some(range) = ranges.first() else { continue };
        let network = instance.inside.network();
        let sentence = format!(
            "{} asks for an address and gets none: dnsmasq{} has addresses from {} on, and {} is in {network}",
            instance.name(),
            place.within(),
            range.first,
            device.name
        );
        let [first, last] = upper_half(instance.inside);
        found.push(
            Found::new(place, range.first.to_string(), sentence)
                .seen("dhcp-range of dnsmasq", range.first)
                .seen(format!("ip address show dev {}", device.name), instance.inside.net)
                .mend(place, format!("dnsmasq --interface={} --dhcp-range={first},{last},1h", device.name)),
        );
    }
    found
}

fn gateway_of_nobody(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        for inside in &router.insides {
            let domain = Domain::of(site.host, router.place, inside.device);
            let mut servers = domain.ends.iter().filter_map(|(place, device)| {
                let dnsmasq = lender(site.host, place)?;
                let serves = dnsmasq.serves(&device.name, &numbers(place, device));
                Some((*place, dnsmasq.gateway().filter(|_| serves)?))
            });
            let Some((place, gateway)) = servers.next() else { continue };
            let has = |(place, _): &(&Place, &Device)| place.has(IpAddr::V4(gateway));
            if !domain.closed || !inside.net.contains(&gateway) || domain.ends.iter().any(has) {
                continue;
            }
            let sentence = format!(
                "dnsmasq{} tells instances of {} that {gateway} is their gateway, and nobody there has that address",
                place.within(),
                inside.network()
            );
            found.push(
                Found::new(place, gateway.to_string(), sentence)
                    .seen("dhcp-option of dnsmasq", format!("3,{gateway}"))
                    .mend(place, format!("dnsmasq --dhcp-option=option:router,{}", inside.net.addr())),
            );
        }
    }
    found
}

fn used_up(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for daemon in &site.host.daemons {
        let Some(dnsmasq) = daemon.dnsmasq.as_ref().filter(|dnsmasq| dnsmasq.complete) else { continue };
        let Some(place) = site.host.places.iter().find(|place| place.inode == daemon.namespace) else {
            continue;
        };
        for range in dnsmasq.ranges() {
            let lent = dnsmasq.leases.iter().filter(|lease| range.contains(**lease)).count() as u64;
            let Some(last) = range.last.filter(|_| range.size() > 0 && lent >= range.size()) else {
                continue;
            };
            let name = format!("{},{last}", range.first);
            let sentence = format!(
                "the next instance gets no address: all {lent} of {} to {last} are lent out by dnsmasq{}",
                range.first,
                place.within()
            );
            found.push(
                Found::new(place, &name, sentence)
                    .seen(&dnsmasq.lease_file, format!("{lent} leases"))
                    .mend(place, format!("dnsmasq --dhcp-range={},LAST,1h", range.first)),
            );
        }
    }
    found
}

fn two_servers(site: &Site<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for router in &site.routers {
        for inside in &router.insides {
            let places = Domain::of(site.host, router.place, inside.device).places();
            let servers: Vec<_> = places.into_iter().filter(|place| serves(place) > 0).collect();
            let [first, second, ..] = &*servers else { continue };
            let sentence = format!(
                "several DHCP servers are on {}: each instance takes what it hears first",
                inside.network()
            );
            let mut note = Found::new(router.place, inside.network().to_string(), sentence);
            for server in [first, second] {
                note = note.seen("/proc/net/udp", format!("port {SERVER}{}", server.within()));
            }
            let other = if first.cookie == router.place.cookie { second } else { first };
            found.push(note.mend(other, format!("ss -lunp sport = :{SERVER}")));
        }
    }
    found
}
