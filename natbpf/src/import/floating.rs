//! A DNAT of all that comes for an address to a host, and an SNAT of all that comes from the host to the address: a
//! floating address.

use std::net::Ipv4Addr;

use super::{
    inside::Inside,
    inward::Inward,
    matching::{Addresses, Devices, Match},
    site::Redirect,
    target::SourceNat,
    toml::Table,
    written::Written,
};

/// The table for what an item does with all that arrives for an address.
pub fn table(redirect: Redirect<'_>, piece: &Match, tables: &[Inward]) -> Result<Inward, String> {
    let Redirect { site, item, nat, uplink } = redirect;
    let whole = piece.source.is_everything() && piece.source_ports.is_all() && piece.ports.is_all();
    let external = piece.destination.single().filter(|_| whole && piece.to_host != Some(false));
    let half = "without ports it is half of a floating address; the other half is an SNAT of that host to this address";
    let external = external.ok_or(half)?;
    let host = nat.address;
    let partner = partner(site.written, external, host, uplink).ok_or(half)?;
    let arrival = Match::destination(Addresses::host(host));
    let inside = Inside { redirect, external: piece.clone(), arrival };
    let said = inside.check()?;
    let pooled = site.written.iter().find(|rule| {
        let range = rule.nat.as_ref().and_then(|nat| nat.to);
        range.is_some_and(|(first, last)| (first..=last).contains(&external)) && !is_half(rule, host, uplink)
    });
    if let Some(rule) = pooled {
        return Err(format!("line {} translates others to its address {external}, too", rule.line.number));
    }
    for other in tables.iter().filter(|other| other.table.is("floating")) {
        if other.address == Some(external) {
            return Err(format!("{external} is the floating address of line {} already", other.line.number));
        }
        if other.uplink == uplink && other.arrival == inside.arrival {
            return Err(format!("{host} has the floating address of line {} already", other.line.number));
        }
    }
    // A forward to all addresses would win over it, or not, by whether the host has the address.
    if tables.iter().any(|other| other.uplink == uplink && other.address.is_none()) {
        return Err(
            "natbpf's forwards for all addresses and its floating addresses must not overlap".to_owned()
        );
    }
    let mut table = Table::new("floating", [&item.line, &partner.line].into_iter());
    table.text("uplink", uplink);
    table.text("address", external);
    table.text("to", host);
    Ok(inside.inward(table, Some(external), said))
}

/// The rule that gives the host this address. A floating address goes before every rule, so nothing may go before the
/// partner that has the host's packets.
fn partner(written: &[Written], external: Ipv4Addr, host: Ipv4Addr, uplink: &str) -> Option<Written> {
    let all = Match { source: Addresses::host(host), ..Match::output(Devices::named(uplink)) };
    let first = written.iter().find(|rule| rule.piece.overlaps(&all))?;
    let nat = first.nat.as_ref()?;
    let is_it = nat.single() == Some(external) && nat.ports.is_none() && is_half(first, host, uplink);
    is_it.then(|| first.clone())
}

/// Whether a rule is for all that one host sends by the uplink.
fn is_half(rule: &Written, host: Ipv4Addr, uplink: &str) -> bool {
    rule.piece.source == Addresses::host(host)
        && rule.piece.destination.is_everything()
        && rule.piece.output.name() == Some(uplink)
}

/// Rules that floating addresses make superfluous: those of their hosts.
pub fn replaces(rule: &Written, tables: &[Inward]) -> bool {
    let Some(to) = rule.nat.as_ref().and_then(SourceNat::single) else { return false };
    let floating = tables.iter().filter(|inward| inward.table.is("floating") && inward.address == Some(to));
    let mut hosts = floating.map(|inward| (inward.arrival.destination.within.addr(), &inward.uplink));
    hosts.any(|(host, uplink)| is_half(rule, host, uplink))
}
