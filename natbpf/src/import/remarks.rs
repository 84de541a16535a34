//! What is to be said of no single line: other tables, and what was not looked at.

use std::collections::BTreeSet;

use super::{
    filters,
    inward::Inward,
    line::printable,
    matching::{Match, Pattern},
    ruleset::{Hook, Kind, Policy, Ruleset, Table},
    written::Written,
};

/// Tables of iptables that may drop what is translated.
const OTHERS: [&str; 3] = ["filter", "mangle", "raw"];

/// What in each table does not translate, and what natbpf has not.
pub fn on_tables(ruleset: &Ruleset) -> Vec<String> {
    ruleset.tables.iter().flat_map(|table| policies(table).into_iter().chain(filtering(table))).collect()
}

fn policies(table: &Table) -> Vec<String> {
    let drops = table.chains.iter().filter(|(_, chain)| {
        chain.base.as_ref().is_some_and(|base| base.kind == Kind::Nat && base.policy == Policy::Drop)
    });
    let say =
        |name| format!("the policy of {name} in the table {} is DROP, which natbpf has not", table.name);
    drops.map(|(name, _)| say(printable(name))).collect()
}

/// What of a table does not translate.
fn filtering(table: &Table) -> Option<String> {
    let elsewhere = table.only_filtering();
    let others = || table.rules().filter(|(chain, _)| !table.is_nat() || elsewhere.contains(chain));
    let (line, count) = (others().map(|(_, rule)| rule.line.number).min()?, others().count());
    let (name, of) = (&table.name, if table.is_nat() { "what filters in the table" } else { "the table" });
    let program = if table.is_of_nftables() { "nftables" } else { "iptables" };
    let around = table.bases().any(|base| base.hook == Hook::Device);
    let around = if around { format!("; {}", filters::AROUND) } else { String::new() };
    Some(format!("{of} {name} (from line {line}, rules: {count}) stays with {program}{around}"))
}

/// What was not given, and may drop what is translated.
pub fn not_given(ruleset: &Ruleset) -> Option<String> {
    let tables = &ruleset.tables;
    if tables.iter().any(Table::is_of_nftables) {
        let filters = tables.iter().flat_map(Table::bases).any(|base| base.kind == Kind::Filter);
        return (!filters).then(|| {
            "no chain that filters was given: if there are some, what they drop of what is translated was not looked at"
                .to_owned()
        });
    }
    let given = |name: &&str| tables.iter().any(|table| table.name == *name);
    // iptables-save leaves out tables that nobody has used.
    let whole = !ruleset.single_tables && OTHERS.iter().any(given);
    let missing: Vec<_> = OTHERS.into_iter().filter(|name| !whole && !given(name)).collect();
    let names = match &missing[..] {
        [] => return None,
        [one] => format!("table {one} was"),
        [first @ .., last] => format!("tables {} and {last} were", first.join(", ")),
    };
    Some(format!("the {names} not given: what is dropped there of what is translated was not looked at"))
}

/// What natbpf takes at a device of what has a device of its own, by which rules name it.
pub fn subinterfaces(ruleset: &Ruleset, written: &[Written], inwards: &[Inward]) -> Vec<String> {
    let rules = written.iter().filter(|rule| rule.nat.is_some()).filter_map(|rule| rule.piece.output.name());
    let uplinks: BTreeSet<_> = rules.chain(inwards.iter().map(|inward| inward.uplink.as_str())).collect();
    let pieces = ruleset.tables.iter().flat_map(Table::rules).flat_map(|(_, rule)| &rule.pieces);
    let named: BTreeSet<_> = pieces.flat_map(patterns).map(|pattern| pattern.name.as_str()).collect();
    let mut remarks = Vec::new();
    for uplink in uplinks {
        let above = |name: &&&str| name.strip_prefix(uplink).is_some_and(|rest| rest.starts_with('.'));
        let above: Vec<_> = named.iter().filter(above).map(|name| printable(name)).collect();
        if !above.is_empty() {
            let names = above.join(", ");
            remarks.push(format!(
                "what leaves by {names} goes out by {uplink} with a tag, and what natbpf does at {uplink} is for it, too: where \
                 that is not meant, let natbpf have subinterfaces alone"
            ));
        }
    }
    remarks
}

fn patterns(piece: &Match) -> impl Iterator<Item = &Pattern> {
    [&piece.input, &piece.output].into_iter().flat_map(|devices| devices.is.iter().chain(&devices.not))
}
