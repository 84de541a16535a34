//! From PREROUTING to `[[forward]]`.

use super::{
    flatten::{Hairpin, Item, Skipped, Verdict, resolve_returns},
    matching::{Device, Match},
    target::DestinationNat,
    toml::Table,
};

/// What is the same for all forwards.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The uplink where a rule names none.
    pub uplink: Option<&'a str>,
    pub hairpin: &'a Hairpin,
}

/// The tables for all that can be said, in their order.
pub fn tables(items: &mut [Item<'_>], site: Site<'_>, skipped: &mut Skipped) -> Vec<Table> {
    resolve_returns(items, skipped);
    let mut tables = Vec::new();
    for at in 0..items.len() {
        let (earlier, rest) = items.split_at_mut(at);
        let item = &mut rest[0];
        let forwards = match &item.verdict {
            Verdict::Destination(nat) if item.known => {
                let forwards = item.pieces.iter().map(|piece| forwards(item, piece, nat, site));
                // natbpf asks all forwards at once.
                let first =
                    earlier.iter().find(|first| first.verdict != Verdict::Nothing && first.overlaps(item));
                forwards.collect::<Result<Vec<_>, _>>().and_then(|forwards| match first {
                    Some(first) => {
                        Err(format!("line {} is asked first and takes some of it", first.line.number))
                    }
                    None => Ok(forwards),
                })
            }
            Verdict::Source(_) if item.known => Err("SNAT and MASQUERADE belong into POSTROUTING".to_owned()),
            _ => continue,
        };
        match forwards {
            Ok(forwards) => tables.extend(forwards.into_iter().flatten()),
            Err(why) => {
                skipped.add(item.line, why);
                item.known = false;
            }
        }
    }
    tables
}

/// A forward for each range of ports.
fn forwards(
    item: &Item<'_>,
    piece: &Match,
    nat: &DestinationNat,
    site: Site<'_>,
) -> Result<Vec<Table>, String> {
    let uplink = uplink(&piece.input, site)?;
    if !piece.source.is_everything() {
        return Err("natbpf's forwards do not look at the source".to_owned());
    }
    let address = piece.destination.single();
    if address.is_none() && !piece.destination.is_everything() {
        return Err("a forward is for one address, or for all of the uplink".to_owned());
    }
    let protocol = match piece.protocol.as_deref() {
        Some(protocol @ ("tcp" | "udp")) => protocol,
        Some(other) => return Err(format!("natbpf forwards TCP and UDP, not {other}")),
        None => {
            return Err("without ports it is half of a floating address; the other half is an SNAT of that host to this address".to_owned());
        }
    };
    let all = [(1, u16::MAX)];
    let ranges = if piece.ports.is_empty() { &all[..] } else { &piece.ports[..] };
    let forward = |&(first, last): &(u16, u16)| {
        let mut table = Table::new("forward", [item.line].into_iter());
        table.text("in", uplink.to_owned());
        if let Some(address) = address {
            table.text("address", address.to_string());
        }
        table.text("protocol", protocol.to_owned());
        table.text("port", if first == last { first.to_string() } else { format!("{first}-{last}") });
        table.text("to", target(nat, first, last)?);
        if site.hairpin.reaches(nat.address) {
            table.flag("hairpin");
        }
        Ok(table)
    };
    ranges.iter().map(forward).collect()
}

fn uplink<'a>(input: &'a Device, site: Site<'a>) -> Result<&'a str, String> {
    match (input.name(), site.uplink) {
        (Some(name), _) => Ok(name),
        (None, Some(uplink)) if input.includes(uplink) => Ok(uplink),
        (None, Some(uplink)) => Err(format!("it is not for what arrives at {uplink}")),
        (None, None) => Err("it names no uplink; give one with --uplink".to_owned()),
    }
}

/// Where the ports from `first` to `last` lead: to so many from one on, or to the same ones.
fn target(nat: &DestinationNat, first: u16, last: u16) -> Result<String, String> {
    let address = nat.address;
    let Some((to, to_last)) = nat.ports else { return Ok(address.to_string()) };
    let as_many = to_last - to == last - first;
    match nat.base {
        Some(base) if base == first && as_many => Ok(format!("{address}:{to}")),
        // Without a base a port that is in the range stays, and others are brought in.
        None if (to, to_last) == (first, last) => Ok(format!("{address}:{to}")),
        None if first == last && to == to_last => Ok(format!("{address}:{to}")),
        _ => Err("natbpf forwards a range of ports to one of the same length".to_owned()),
    }
}
