//! From POSTROUTING to `[[masquerade]]`.

use super::{
    flatten::{Item, Skipped, Verdict, resolve_returns},
    matching::Match,
    order::follow,
    target::SourceNat,
    toml::Table,
};

/// Finds out what can be said.
pub fn sort_out(items: &mut [Item<'_>], skipped: &mut Skipped) {
    join_protocols(items);
    for item in items.iter_mut().filter(|item| item.known) {
        let sayable = item.pieces.iter().all(|piece| piece.protocol.is_none() && !piece.local);
        if matches!(item.verdict, Verdict::Source(_) | Verdict::Accept) && !sayable {
            skipped.add(item.line, "natbpf's rules are for all protocols at once");
            item.known = false;
        }
        let ports = matches!(&item.verdict, Verdict::Source(nat) if nat.ports.is_some());
        if ports && item.joined.is_empty() {
            skipped.add(item.line, "ports want -p tcp or -p udp");
            item.known = false;
        }
        if matches!(item.verdict, Verdict::Destination(_)) {
            skipped.add(item.line, "DNAT belongs into PREROUTING");
            item.known = false;
        }
    }
    resolve_returns(items, skipped);
    follow(items, skipped);
}

/// The tables for all that can be said, in their order.
pub fn tables(items: &[Item<'_>]) -> Vec<Table> {
    let said = |item: &&Item<'_>| item.known && matches!(item.verdict, Verdict::Source(_) | Verdict::Accept);
    let imported: Vec<_> = items.iter().filter(said).collect();
    let wanted = |at: usize, item: &Item<'_>| {
        // What nothing later would translate needs no exemption.
        let later = || {
            imported[at + 1..].iter().any(|later| later.verdict != Verdict::Accept && later.overlaps(item))
        };
        item.verdict != Verdict::Accept || later()
    };
    let kept = imported.iter().enumerate().filter(|(at, item)| wanted(*at, item));
    kept.flat_map(|(_, item)| item.pieces.iter().map(|piece| table(item, piece))).collect()
}

fn table(item: &Item<'_>, piece: &Match) -> Table {
    let lines = item.joined.iter().copied().chain([item.line]);
    let mut table = Table::new("masquerade", lines);
    table.text("out", piece.output.to_string());
    table.list("source", piece.source.entries());
    table.list("destination", piece.destination.entries());
    match &item.verdict {
        Verdict::Source(nat) => translation(&mut table, nat),
        _ => table.text("action", "exempt".to_owned()),
    }
    table
}

fn translation(table: &mut Table, nat: &SourceNat) {
    table.list("to", nat.to.iter().cloned().collect());
    if let Some((first, last)) = nat.ports {
        table.text("to_ports", format!("{first}-{last}"));
    }
    if nat.random {
        table.flag("random");
    }
}

/// Joins what iptables needs three rules for and natbpf one: the ports of TCP, those of UDP, and all other protocols.
fn join_protocols(items: &mut [Item<'_>]) {
    for at in 0..items.len().saturating_sub(2) {
        let [one, two, rest] = &mut items[at..at + 3] else { continue };
        let (Verdict::Source(first), Verdict::Source(second), Verdict::Source(third)) =
            (&one.verdict, &two.verdict, &rest.verdict)
        else {
            continue;
        };
        let known = one.known && two.known && rest.known;
        let bare = |item: &Item<'_>| Match { protocol: None, ..item.pieces[0].clone() };
        let mut protocols = [&one.pieces[0].protocol, &two.pieces[0].protocol].map(Option::as_deref);
        protocols.sort_unstable();
        let joined = known
            && protocols == [Some("tcp"), Some("udp")]
            && bare(one) == rest.pieces[0]
            && bare(two) == rest.pieces[0]
            && first == second
            && *third == SourceNat { ports: None, ..first.clone() };
        if joined {
            rest.verdict = Verdict::Source(first.clone());
            rest.joined.extend([one.line, two.line]);
            (one.verdict, two.verdict) = (Verdict::Nothing, Verdict::Nothing);
        }
    }
}
