//! From PREROUTING to `[[forward]]` and `[[floating]]`.

use super::{
    flatten::{Item, Skipped},
    floating,
    inside::Inside,
    inward::Inward,
    limits::{self, can_be_host},
    line::Lines,
    matching::{Devices, Match, Pattern, Ports, Protocols, TCP, UDP, and, minus, overlap},
    postrouting::odd_name,
    site::{Site, is_site_local},
    target::{DestinationNat, Verdict},
    toml::Table,
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
    let impossible =
        piece.output.is.is_some() || piece.redirected == Some(true) || piece.from_host == Some(true);
    (!impossible).then(|| Match {
        output: Devices::default(),
        redirected: None,
        from_host: None,
        ..piece.clone()
    })
}

/// The tables for all that can be said, in their order.
pub fn tables(items: &[Item], site: &Site<'_>, skipped: &mut Skipped) -> Vec<Inward> {
    let mut tables: Vec<Inward> = Vec::new();
    for at in 0..items.len() {
        let (earlier, item) = (&items[..at], &items[at]);
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
                reasons.push(limits::too_many(uplink));
                continue;
            }
            match inward(item, nat, earlier, uplink, site, &tables) {
                Ok(Some(inward)) => said.extend(inward),
                Ok(None) => {}
                Err(why) => reasons.push(why),
            }
        }
        let mut all: Vec<String> = Vec::new();
        for why in reasons {
            if !all.contains(&why) {
                all.push(why);
            }
        }
        match (!all.is_empty()).then(|| all.join("; ")) {
            Some(why) if said.is_empty() => skipped.add(&item.line, why),
            Some(why) => skipped.part(&item.line, why),
            None if said.is_empty() && item.certain.iter().all(|piece| piece.input.name().is_some()) => {
                skipped.idle(&item.line, "rules before it take all of it");
            }
            // What it does elsewhere is not imported.
            None if said.is_empty() => {
                let names = uplinks.join(", ");
                skipped.add(&item.line, format!("rules before it take all of it that arrives at {names}"));
            }
            None => {}
        }
        said.iter().for_each(|inward| say_parts(item, inward, skipped));
        tables.extend(said);
    }
    tables
}

/// Where it can be written for: interfaces that it names itself, or that the operator has named.
fn uplinks(item: &Item, site: &Site<'_>, reasons: &mut Vec<String>) -> Vec<String> {
    let mut uplinks: Vec<String> = Vec::new();
    let loopback = |piece: &Match| piece.destination.single().is_some_and(|address| address.is_loopback());
    if !item.certain.is_empty() && item.certain.iter().all(loopback) {
        reasons.push("nothing arrives from outside for a loopback address".to_owned());
        return uplinks;
    }
    for piece in &item.certain {
        if let Some(why) = odd_name(&piece.input) {
            reasons.push(why);
            continue;
        }
        let Some(name) = piece.input.name() else {
            let named = site.named.iter().filter(|name| piece.input.includes(name));
            let before = uplinks.len();
            uplinks.extend(named.cloned());
            if uplinks.len() == before {
                reasons.push(match site.named {
                    [] => "it names no single interface where it arrives (-i); name the uplink with --uplink"
                        .to_owned(),
                    [name, ..] => format!("it is not for what arrives at {name}"),
                });
            }
            continue;
        };
        if site.too_many.iter().any(|one| one == name) {
            reasons.push(limits::too_many(name));
        } else if site.is_uplink(name) || (site.translates_no_source() && name != "lo") {
            uplinks.push(name.to_owned());
        } else {
            reasons.push(format!(
                "no rule that is imported masquerades by {name}, so it is taken to be inside; if it is an uplink, say \
                 --uplink {name}"
            ));
        }
    }
    uplinks.sort();
    uplinks.dedup();
    if item.certain.is_empty() {
        reasons.push(match item.cause {
            Some(cause) => cause.reason(),
            None => "whether it matches depends on what is not imported".to_owned(),
        });
    }
    uplinks
}

/// What an item is at an uplink; nothing if rules before it take all of that.
fn inward(
    item: &Item,
    nat: &DestinationNat,
    earlier: &[Item],
    uplink: &str,
    site: &Site<'_>,
    tables: &[Inward],
) -> Result<Option<Vec<Inward>>, String> {
    let here = Match { input: Devices::is(Pattern::exact(uplink)), ..Match::default() };
    let here = and(&item.certain, &[here]);
    let mut left = here;
    let (mut first, mut unknown) = (Vec::new(), Vec::new());
    for earlier in earlier {
        let line = earlier.line.number;
        if overlap(&earlier.maybe, &left) && !earlier.verdict.same(&item.verdict) && !unknown.contains(&line)
        {
            unknown.push(line);
        }
        if overlap(&earlier.certain, &left) {
            first.push(line);
            left = minus(&left, &earlier.certain);
        }
    }
    if !unknown.is_empty() {
        unknown.sort_unstable();
        let lines = Lines(&unknown);
        let are = lines.or("is", "are");
        return Err(format!("{lines} {are} asked first and may take some of it, and {are} not imported"));
    }
    if left.is_empty() {
        return Ok(None);
    }
    if !can_be_host(nat.address) {
        return Err(format!("{} cannot be the address of a host", nat.address));
    }
    first.sort_unstable();
    first.dedup();
    let asked_first = |why: String| {
        let lines = Lines(&first);
        let takes = lines.or("is asked first and takes", "are asked first and take");
        if first.is_empty() { why } else { format!("{lines} {takes} some of it") }
    };
    let mut inward = Vec::new();
    for piece in &left {
        evidence(item, piece, uplink, site)?;
        if piece.protocol.is_any() && nat.ports.is_none() {
            inward.push(floating::table(item, piece, nat, uplink, site, tables).map_err(asked_first)?);
        } else {
            inward.extend(forwards(item, piece, nat, uplink, site).map_err(asked_first)?);
        }
    }
    for (at, one) in inward.iter().enumerate() {
        if clashes(one, tables) || clashes(one, &inward[..at]) {
            return Err("natbpf's forwards for one address and for all of them must not overlap".to_owned());
        }
        site.filters.opens(one)?;
    }
    Ok(Some(inward))
}

/// Without `-i` an address has to be one of the uplink: natbpf answers ARP for it there.
fn evidence(item: &Item, piece: &Match, uplink: &str, site: &Site<'_>) -> Result<(), String> {
    let named = item.certain.iter().any(|own| own.input.name() == Some(uplink));
    let Some(address) = piece.destination.single() else { return Ok(()) };
    let host = piece.to_host == Some(true);
    let translated = site.written.iter().any(|rule| {
        rule.piece.output.includes(uplink)
            && rule.nat.as_ref().and_then(|nat| nat.single()).is_some_and(|to| to == address)
    });
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
fn forwards(
    item: &Item,
    piece: &Match,
    nat: &DestinationNat,
    uplink: &str,
    site: &Site<'_>,
) -> Result<Vec<Inward>, String> {
    if !piece.source.is_everything() || !piece.source_ports.is_all() {
        return Err("natbpf's forwards do not look at the source".to_owned());
    }
    if piece.to_host == Some(false) {
        return Err("natbpf's forwards are for addresses of the uplink".to_owned());
    }
    let address = piece.destination.single();
    if address.is_none() && !piece.destination.is_everything() {
        return Err("a forward is for one address, or for all of the uplink".to_owned());
    }
    if address.is_some_and(|address| !can_be_host(address)) {
        return Err("its address is none that a host can have".to_owned());
    }
    let (number, protocol) = match piece.protocol.is {
        Some(TCP) => (TCP, "tcp"),
        Some(UDP) => (UDP, "udp"),
        _ => return Err("natbpf forwards TCP and UDP by port; ports want -p tcp or -p udp".to_owned()),
    };
    let mut inwards = Vec::new();
    for &(first, last) in piece.ports.ranges() {
        // Nothing is sent to port 0.
        let (first, last) = (first.max(1), last);
        if last == 0 {
            continue;
        }
        let (to, ports) = target(nat, first, last)?;
        let arrival = Match {
            destination: super::matching::Addresses::host(nat.address),
            protocol: Protocols::is(number),
            ports: Ports::new(vec![ports]).unwrap_or_default(),
            ..Match::default()
        };
        let inside = Inside { uplink, external: piece, ports: (first, last), nat, arrival: &arrival };
        let said = inside.check(site)?;
        let mut table = Table::new("forward", [&item.line].into_iter());
        table.text("in", uplink.to_owned());
        if let Some(address) = address {
            table.text("address", address.to_string());
        }
        table.text("protocol", protocol.to_owned());
        table.text("port", if first == last { first.to_string() } else { format!("{first}-{last}") });
        table.text("to", to);
        if let Some(lines) = inside.hairpin(site) {
            table.flag("hairpin");
            lines.iter().for_each(|line| table.also(line));
        }
        let external = Match { ports: Ports::new(vec![(first, last)]).unwrap_or_default(), ..piece.clone() };
        let (line, uplink) = (item.line.clone(), uplink.to_owned());
        inwards.push(Inward { table, line, uplink, address, external, arrival, said });
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
        let inside = if inward.table.key("hairpin").is_some() { " and from inside" } else { "" };
        skipped.part(line, format!("only for what arrives at {uplink}{inside}"));
    }
    if inward.table.key("hairpin").is_some() {
        skipped.part(line, format!("from inside, the host sees the address of {uplink} as the source"));
    }
    match inward.address {
        None => skipped.part(line, format!("only for the addresses of {uplink}")),
        Some(address) if item.certain.iter().all(|piece| piece.to_host != Some(true)) => {
            skipped.part(
                line,
                format!("natbpf answers ARP for {address} on {uplink} if the host does not have it"),
            );
        }
        // Docker's rules say it of every address that a port is published on.
        Some(address) => {
            skipped.part(
                line,
                format!("{address} is taken for an address of the host, for which alone the rule is"),
            );
        }
    }
}
