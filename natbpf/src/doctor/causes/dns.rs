//! Whether instances can ask for names.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    doctor::{Cause, Found, Router, Severity, Site, Stage},
    facts::{Place, Resolver},
};

const PORT: u16 = 53;

/// What a resolver asks if it is told of nobody (resolv.conf(5)).
const UNTOLD: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Docker's own, which is behind rules in the container.
const DOCKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "dns-no-server",
        severity: Severity::Error,
        stage: Stage::Instance,
        title: "An instance is told of no name server",
        look: |site| found(site, Fault::Untold),
    },
    Cause {
        name: "dns-nobody-listens",
        severity: Severity::Error,
        stage: Stage::Instance,
        title: "An instance asks a name server of its own that does not run",
        look: |site| found(site, Fault::Within),
    },
    Cause {
        name: "dns-no-route",
        severity: Severity::Error,
        stage: Stage::Instance,
        title: "An instance has no route to its name server",
        look: |site| found(site, Fault::Route),
    },
    Cause {
        name: "dns-gateway-silent",
        severity: Severity::Error,
        stage: Stage::Instance,
        title: "An instance asks its router for names, where nobody listens",
        look: |site| found(site, Fault::Router),
    },
];

/// Why a name server does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Untold,
    Within,
    Route,
    Router,
}

/// Instances whose name servers all do not answer, the first one for this reason.
fn found(site: &Site<'_>, wanted: Fault) -> Vec<Found> {
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for (router, _, place, _) in site.instances() {
        if seen.contains(&place.cookie) {
            continue;
        }
        seen.push(place.cookie);
        for resolver in site.host.resolvers.iter().filter(|resolver| resolver.namespace == place.inode) {
            if let Some((server, fault)) = first_fault(router, place, resolver)
                && fault == wanted
            {
                found.push(told(router, place, resolver, server, fault));
            }
        }
    }
    found
}

/// The first of the name servers with what is wrong with it; `None`: one of them may answer.
fn first_fault(router: &Router<'_>, place: &Place, resolver: &Resolver) -> Option<(IpAddr, Fault)> {
    if resolver.servers.is_empty() {
        return within(place, UNTOLD).map(|_| (UNTOLD, Fault::Untold));
    }
    let faults: Option<Vec<_>> =
        resolver.servers.iter().map(|server| Some((*server, fault(router, place, *server)?))).collect();
    faults?.first().copied()
}

fn fault(router: &Router<'_>, place: &Place, server: IpAddr) -> Option<Fault> {
    if server.is_loopback() || place.has(server) {
        return within(place, server);
    }
    let lead = |v6: bool| place.routes.iter().filter(move |route| route.destination.addr().is_ipv6() == v6);
    // Without a default route for IPv4 it is not names that are missing.
    let is_local = matches!(server, IpAddr::V6(address) if address.is_unicast_link_local());
    let routed = lead(server.is_ipv6()).any(|route| !route.refuses && route.destination.contains(&server));
    if !routed && !is_local && (server.is_ipv6() || !place.defaults().is_empty()) {
        return Some(Fault::Route);
    }
    let own = router.place.addresses.iter().find(|address| address.net.addr() == server)?;
    // Addresses of services are put on dummies, where nobody has to listen.
    let service = router.place.device(own.device).is_none_or(|device| device.is("dummy"));
    let silent = !service && !listens(router.place, server)? && !redirects(router.place);
    silent.then_some(Fault::Router)
}

fn within(place: &Place, server: IpAddr) -> Option<Fault> {
    let silent = server != DOCKER && !listens(place, server)? && !redirects(place);
    silent.then_some(Fault::Within)
}

/// `None`: it cannot be seen.
fn listens(place: &Place, server: IpAddr) -> Option<bool> {
    Some(place.sockets.as_ref()?.iter().any(|socket| socket.takes(server, PORT)))
}

/// Whether rules may lead questions elsewhere.
fn redirects(place: &Place) -> bool {
    if !place.firewall.is_complete() {
        return true;
    }
    let targets = ["DNAT", "dnat", "REDIRECT", "redirect", "TPROXY", "tproxy"];
    let mut rules = targets.into_iter().flat_map(|target| place.firewall.lines(target));
    rules.any(|(_, rule)| {
        let numbers = rule.split(|character: char| !character.is_ascii_alphanumeric());
        !rule.contains("dport")
            || rule.contains("map")
            || rule.contains('@')
            || numbers.into_iter().any(|word| word == "53")
    })
}

fn told(router: &Router<'_>, place: &Place, resolver: &Resolver, server: IpAddr, fault: Fault) -> Found {
    let who = place.called("the instance");
    let waits = format!("nobody waits at port {PORT}");
    let (object, sentence) = match fault {
        Fault::Untold => {
            (resolver.path.clone(), format!("{who} resolves no names: its resolv.conf names no name server"))
        }
        Fault::Within => (
            server.to_string(),
            format!("{who} resolves no names: it asks itself, at {server}, where {waits}"),
        ),
        Fault::Route => (
            server.to_string(),
            format!("{who} resolves no names: it has no route to its name server {server}"),
        ),
        Fault::Router => (
            server.to_string(),
            format!(
                "{who} resolves no names: it asks its router at {server}, where {waits}{}",
                router.place.within()
            ),
        ),
    };
    let servers: Vec<_> = resolver.servers.iter().map(|server| format!("nameserver {server}")).collect();
    let servers = if servers.is_empty() { "no nameserver".to_owned() } else { servers.join(", ") };
    let found = Found::new(place, object, sentence).seen(&resolver.path, servers);
    match fault {
        Fault::Untold => {
            // A link there would lead to a file of ours: dd refuses it.
            let append = "dd oflag=append,nofollow conv=nocreat,notrunc";
            let command = format!("echo nameserver ADDRESS | {append} of={}", resolver.path);
            Found { mend: vec![command], ..found }
        }
        Fault::Within => found
            .seen("/proc/net/udp", waits)
            .mend(place, format!("dnsmasq --listen-address={server} --bind-interfaces")),
        Fault::Route => found
            .seen("ip route show table all", format!("no route for {server}"))
            .mend(place, format!("ip route add {server} via GATEWAY")),
        Fault::Router => found
            .seen("/proc/net/udp", format!("{waits}{}", router.place.within()))
            .mend(router.place, format!("dnsmasq --listen-address={server} --bind-interfaces")),
    }
}
