//! A DNAT of all that comes for an address to a host, and an SNAT of all that comes from the host to the address: a
//! floating address.

use super::{
    flatten::{Hairpin, Item, Verdict},
    matching::{Device, Match, Pattern},
    prerouting::Site,
    toml::Table,
};

/// Takes such pairs out of both lists and returns tables for them.
pub fn tables(before: &mut [Item<'_>], after: &mut [Item<'_>], site: Site<'_>) -> Vec<Table> {
    let Some(uplink) = site.uplink else { return Vec::new() };
    let mut tables = Vec::new();
    for at in 0..before.len() {
        let (earlier, rest) = before.split_at_mut(at);
        let item = &mut rest[0];
        // What is asked before it has its packets first.
        if earlier.iter().any(|earlier| earlier.verdict != Verdict::Nothing && earlier.overlaps(item)) {
            continue;
        }
        let Some(table) = pair(item, after, uplink, site.hairpin) else { continue };
        tables.push(table);
        item.verdict = Verdict::Nothing;
    }
    tables
}

fn pair(item: &Item<'_>, after: &mut [Item<'_>], uplink: &str, hairpin: &Hairpin) -> Option<Table> {
    let Verdict::Destination(nat) = &item.verdict else { return None };
    let [piece] = &item.pieces[..] else { return None };
    let external = piece.destination.single()?;
    let whole = piece.protocol.is_none() && piece.source.is_everything() && nat.ports.is_none();
    if !whole || !item.known || !piece.input.includes(uplink) {
        return None;
    }
    let partner = after.iter().position(|other| {
        let Verdict::Source(source) = &other.verdict else { return false };
        other.known
            && source.to.as_deref() == Some(&external.to_string())
            && source.ports.is_none()
            && is_from(other, nat.address, uplink)
    })?;
    // A floating address goes before every rule, so nothing may go before it that has its packets.
    let by_uplink = Match {
        output: Device::Is(Pattern { name: uplink.to_owned(), wildcard: false }),
        ..after[partner].pieces[0].clone()
    };
    let others = after[..partner].iter().filter(|other| other.known && other.verdict != Verdict::Nothing);
    if others.into_iter().any(|other| other.pieces.iter().any(|piece| piece.overlaps(&by_uplink))) {
        return None;
    }
    after[partner].verdict = Verdict::Nothing;
    let mut table = Table::new("floating", [item.line, after[partner].line].into_iter());
    table.text("uplink", uplink.to_owned());
    table.text("address", external.to_string());
    table.text("to", nat.address.to_string());
    if hairpin.reaches(nat.address) {
        table.flag("hairpin");
    }
    Some(table)
}

/// Whether an item is for all that leaves from this host by the uplink.
fn is_from(item: &Item<'_>, host: std::net::Ipv4Addr, uplink: &str) -> bool {
    let [piece] = &item.pieces[..] else { return false };
    piece.source.single() == Some(host)
        && piece.protocol.is_none()
        && piece.destination.is_everything()
        && piece.output.includes(uplink)
}
