//! From PREROUTING to `[[forward]]` and `[[floating]]`.

use std::collections::BTreeSet;

use super::{
    flatten::{Cause, Item, Skipped},
    floating,
    inside::Inside,
    inward::Inward,
    limits::{self, can_be_host},
    line::{Lines, push_new},
    matching::{Addresses, Devices, Match, Ports, Protocols, TCP, UDP, and, minus, overlap},
    postrouting::odd_name,
    site::{Redirect, Site, is_site_local},
    target::{DestinationNat, SourceNat, Verdict},
    toml::Table,
    written::Written,
};

/// Reduces what the items match to what arrives at an interface.
pub fn reduce(items: &mut [Item], skipped: &mut Skipped) {
    for item in items {
        let kept = |pieces: &[Match]| pieces.iter().filter_map(arriving).collect::<Vec<_>>();
        let before = !item.certain.is_empty();
        (item.certain, item.maybe) = (kept(&item.certain), kept(&item.maybe));
        if item.certain.is_empty() && item.maybe.is_empty() && before {
            skipped.idle(&item.line, "nothing that arrives is like that");
        }
    }
}

/// `None`: nothing that arrives is like that. No packet has an interface to leave by yet, is redirected yet, or
/// is the host's own.
fn arriving(piece: &Match) -> Option<Match> {
    let never = piece.output.is.is_some() || piece.redirected == Some(true) || piece.from_host == Some(true);
    let output = Devices::default();
    (!never).then(|| Match { output, redirected: None, from_host: None, ..piece.clone() })
}

/// The tables for all that can be said, in their order.
pub fn tables(items: &[Item], site: &Site<'_>, skipped: &mut Skipped) -> Vec<Inward> {
    let mut tables: Vec<Inward> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let nat = match &item.verdict {
            Verdict::Destination(nat) => nat,
            Verdict::Source(_) => {
                skipped.add(&item.line, "SNAT and MASQUERADE belong into POSTROUTING");
                continue;
            }
            Verdict::Other(name) => {
                skipped.add(&item.line, format!("natbpf has no {name}"));
                continue;
            }
            Verdict::Drop => {
                skipped.add(&item.line, "natbpf drops nothing in PREROUTING");
                continue;
            }
            Verdict::Accept | Verdict::Untracked => continue,
        };
        let mut reasons = Vec::new();
        let mut said = Vec::new();
        let uplinks = uplinks(item, site, &mut reasons);
        for uplink in &uplinks {
            if limits::is_full(uplink, site.written, tables.iter().chain(&said)) {
                push_new(&mut reasons, limits::too_many(uplink));
                continue;
            }
            match inwards(Redirect { site, item, nat, uplink }, &items[..at], &tables) {
                Ok(inwards) => said.extend(inwards),
                Err(why) => push_new(&mut reasons, why),
            }
        }
        let named = || item.certain.iter().all(|piece| piece.input.name().is_some());
        match said.is_empty() {
            true if !reasons.is_empty() => skipped.add(&item.line, reasons.join("; ")),
            true if named() => skipped.idle(&item.line, "rules before it take all of it"),
            // What it does elsewhere is not imported.
            true => {
                let names = uplinks.join(", ");
                skipped.add(&item.line, format!("rules before it take all of it that arrives at {names}"));
            }
            false if !reasons.is_empty() => skipped.part(&item.line, reasons.join("; ")),
            false => {}
        }
        said.iter().for_each(|inward| say_parts(item, inward, skipped));
        tables.extend(said);
    }
    tables
}

/// Where it can be written for: interfaces that it names itself, or that the operator has named.
fn uplinks(item: &Item, site: &Site<'_>, reasons: &mut Vec<String>) -> Vec<String> {
    let loopback = |piece: &Match| piece.destination.single().is_some_and(|address| address.is_loopback());
    if !item.certain.is_empty() && item.certain.iter().all(loopback) {
        reasons.push("nothing arrives from outside for a loopback address".to_owned());
        return Vec::new();
    }
    let mut uplinks = Vec::new();
    for piece in &item.certain {
        if let Some(why) = odd_name(&piece.input) {
            push_new(reasons, why);
            continue;
        }
        let Some(name) = piece.input.name() else {
            let before = uplinks.len();
            uplinks.extend(site.named.iter().filter(|name| piece.input.includes(name)).cloned());
            if uplinks.len() == before {
                let why = match site.named {
                    [] => "it names no single interface where it arrives (-i); name the uplink with --uplink"
                        .to_owned(),
                    [name, ..] => format!("it is not for what arrives at {name}"),
                };
                push_new(reasons, why);
            }
            continue;
        };
        if site.too_many.iter().any(|one| one == name) {
            push_new(reasons, limits::too_many(name));
        } else if site.is_uplink(name) || (site.translates_no_source() && name != "lo") {
            uplinks.push(name.to_owned());
        } else {
            let why = format!(
                "no rule that is imported masquerades by {name}, so it is taken to be inside; if it is an uplink, say \
                 --uplink {name}"
            );
            push_new(reasons, why);
        }
    }
    uplinks.sort();
    uplinks.dedup();
    if item.certain.is_empty() {
        let unknown = || "whether it matches depends on what is not imported".to_owned();
        push_new(reasons, item.cause.map_or_else(unknown, Cause::reason));
    }
    uplinks
}

/// What an item is at an uplink; nothing if rules before it take all of that.
fn inwards(redirect: Redirect<'_>, earlier: &[Item], tables: &[Inward]) -> Result<Vec<Inward>, String> {
    let Redirect { site, item, nat, uplink } = redirect;
    let mut left = and(&item.certain, &[Match::input(Devices::named(uplink))]);
    let (mut first, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    for earlier in earlier {
        let line = earlier.line.number;
        if overlap(&earlier.maybe, &left) && !earlier.verdict.same(&item.verdict) {
            unknown.insert(line);
        }
        if overlap(&earlier.certain, &left) {
            first.insert(line);
            left = minus(&left, &earlier.certain);
        }
    }
    if !unknown.is_empty() {
        let lines = Lines::new(&unknown);
        let are = lines.or("is", "are");
        return Err(format!("{lines} {are} asked first and may take some of it, and {are} not imported"));
    }
    if left.is_empty() {
        return Ok(Vec::new());
    }
    if !can_be_host(nat.address) {
        return Err(format!("{} cannot be the address of a host", nat.address));
    }
    let asked_first = |why: String| {
        let lines = Lines::new(&first);
        let takes = lines.or("is asked first and takes", "are asked first and take");
        if first.is_empty() { why } else { format!("{lines} {takes} some of it") }
    };
    let mut inwards = Vec::new();
    for piece in &left {
        evidence(redirect, piece)?;
        if piece.protocol.is_any() && nat.ports.is_none() {
            inwards.push(floating::table(redirect, piece, tables).map_err(asked_first)?);
        } else {
            inwards.extend(forwards(redirect, piece).map_err(asked_first)?);
        }
    }
    for (at, one) in inwards.iter().enumerate() {
        if clashes(one, tables) || clashes(one, &inwards[..at]) {
            return Err("natbpf's forwards for one address and for all of them must not overlap".to_owned());
        }
        site.filters.opens(one)?;
    }
    Ok(inwards)
}

/// Without `-i` an address has to be one of the uplink: natbpf answers ARP for it there.
fn evidence(redirect: Redirect<'_>, piece: &Match) -> Result<(), String> {
    let Redirect { site, item, uplink, .. } = redirect;
    let Some(address) = piece.destination.single() else { return Ok(()) };
    let named = item.certain.iter().any(|own| own.input.name() == Some(uplink));
    let host = piece.to_host == Some(true);
    let single = |rule: &Written| rule.nat.as_ref().and_then(SourceNat::single);
    let mut written = site.written.iter().filter(|rule| rule.piece.output.includes(uplink));
    let translated = written.any(|rule| single(rule) == Some(address));
    let service = is_site_local(address) || !can_be_host(address);
    if named || host || translated || !service {
        return Ok(());
    }
    Err(format!(
        "nothing says that {address} is an address of {uplink}, where natbpf would answer ARP for it; if it is, add \
         -i {uplink} to the rule"
    ))
}

/// As natbpf would refuse them.
fn clashes(one: &Inward, others: &[Inward]) -> bool {
    others.iter().any(|other| {
        other.uplink == one.uplink
            && (other.address.is_none() || one.address.is_none() || other.address == one.address)
            && other.table.is("forward")
            && one.table.is("forward")
            && other.reached_by().overlaps(&one.reached_by())
    })
}

/// A forward for each range of ports.
fn forwards(redirect: Redirect<'_>, piece: &Match) -> Result<Vec<Inward>, String> {
    let Redirect { item, nat, uplink, .. } = redirect;
    let address = piece.destination.single();
    let (number, protocol) = match piece.protocol.is {
        _ if !piece.source.is_everything() || !piece.source_ports.is_all() => {
            return Err("natbpf's forwards do not look at the source".to_owned());
        }
        _ if piece.to_host == Some(false) => {
            return Err("natbpf's forwards are for addresses of the uplink".to_owned());
        }
        _ if address.is_none() && !piece.destination.is_everything() => {
            return Err("a forward is for one address, or for all of the uplink".to_owned());
        }
        _ if address.is_some_and(|address| !can_be_host(address)) => {
            return Err("its address is none that a host can have".to_owned());
        }
        Some(TCP) => (TCP, "tcp"),
        Some(UDP) => (UDP, "udp"),
        _ => return Err("natbpf forwards TCP and UDP by port; ports want -p tcp or -p udp".to_owned()),
    };
    // Nothing is sent to port 0.
    let ranges = piece.ports.ranges().iter().filter(|(_, last)| *last > 0);
    let mut inwards = Vec::new();
    for (first, last) in ranges.map(|(first, last)| ((*first).max(1), *last)) {
        let (to, ports) = target(nat, first, last)?;
        let arrival = Match {
            destination: Addresses::host(nat.address),
            protocol: Protocols::is(number),
            ports: Ports::range(ports),
            ..Match::default()
        };
        let external = Match { ports: Ports::range((first, last)), ..piece.clone() };
        let inside = Inside { redirect, external, arrival };
        let said = inside.check()?;
        let mut table = Table::new("forward", [&item.line].into_iter());
        table.text("in", uplink);
        if let Some(address) = address {
            table.text("address", address);
        }
        table.text("protocol", protocol);
        table.text("port", if first == last { first.to_string() } else { format!("{first}-{last}") });
        table.text("to", to);
        inwards.push(inside.inward(table, address, said));
    }
    if inwards.is_empty() {
        return Err("nothing is sent to port 0".to_owned());
    }
    Ok(inwards)
}

/// Where the ports from `first` to `last` lead: to so many from one on, or to the same ones.
fn target(nat: &DestinationNat, first: u16, last: u16) -> Result<(String, (u16, u16)), String> {
    let address = nat.address;
    let Some((to, to_last)) = nat.ports else { return Ok((address.to_string(), (first, last))) };
    let as_many = to_last.checked_sub(to) == last.checked_sub(first);
    let fits = match nat.base {
        Some(base) => base == first && as_many,
        // Without a base a port that is in the range stays, and others are brought in.
        None => (to, to_last) == (first, last) || (first == last && to == to_last),
    };
    if fits && to > 0 {
        return Ok((format!("{address}:{to}"), (to, to_last)));
    }
    if as_many && nat.base.is_none() {
        return Err(format!(
            "without the first external port behind it ({to}-{to_last}/{first}) netfilter does not map these ports \
             one by one, as natbpf does; it takes any that is free"
        ));
    }
    Err("natbpf forwards a range of ports to one of the same length".to_owned())
}

/// What is to be said of a forward that is imported.
fn say_parts(item: &Item, inward: &Inward, skipped: &mut Skipped) {
    let (line, uplink) = (&item.line, &inward.uplink);
    inward.said.iter().for_each(|said| skipped.part(line, said.clone()));
    if !item.certain.iter().any(|piece| piece.input.name() == Some(uplink)) {
        let inside = if inward.is_hairpin() { " and from inside" } else { "" };
        skipped.part(line, format!("only for what arrives at {uplink}{inside}"));
    }
    if inward.is_hairpin() {
        skipped.part(line, format!("from inside, the host sees the address of {uplink} as the source"));
    }
    let Some(address) = inward.address else {
        return skipped.part(line, format!("only for the addresses of {uplink}"));
    };
    // Docker's rules say it of every address that a port is published on.
    let host_alone = item.certain.iter().any(|piece| piece.to_host == Some(true));
    let said = match host_alone {
        true => format!("{address} is taken for an address of the host, for which alone the rule is"),
        false => format!("natbpf answers ARP for {address} on {uplink} if the host does not have it"),
    };
    skipped.part(line, said);
}
