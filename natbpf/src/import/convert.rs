//! From a ruleset to a configuration.

use std::collections::BTreeSet;

use super::{
    filters::Filters,
    flatten::{Skipped, walk},
    floating,
    inward::Inward,
    limits::{self, Refused},
    postrouting, prerouting, remarks,
    report::{Import, report},
    ruleset::{Hook, Kind, Ruleset},
    site::Site,
    uplinks::{self, Uplinks},
    written::Written,
};

/// Rules that make more of something than a configuration can have are left out, until it can have the rest.
pub fn convert(ruleset: &Ruleset, named: &[String]) -> Import {
    let mut refused = Refused::new();
    loop {
        let (import, more) = attempt(ruleset, named, &refused);
        if more.is_empty() {
            return import;
        }
        refused.extend(more);
    }
}

/// Returns what is too much besides.
fn attempt(ruleset: &Ruleset, named: &[String], refused: &Refused) -> (Import, Refused) {
    let mut skipped = Skipped::default();
    let filters = Filters::new(ruleset);
    let after = walk(ruleset, Kind::Nat, Hook::Postrouting, &mut skipped);
    let before = walk(ruleset, Kind::Nat, Hook::Prerouting, &mut skipped);

    let mut leaving = after.items.clone();
    postrouting::reduce(&mut leaving, refused, &mut skipped);
    let uplinks = Uplinks::new(named, uplinks::named(&leaving));
    let written = postrouting::rules(&leaving, &uplinks, filters.untracked(), &mut skipped);

    let mut arriving = before.items;
    prerouting::reduce(&mut arriving, &mut skipped);
    let site = Site {
        named: &uplinks.named,
        too_many: &uplinks.too_many,
        uplinks: written.iter().filter_map(|rule| rule.piece.output.is.clone()).collect(),
        written: &written,
        after: &after.items,
        before: &arriving,
        filters: &filters,
    };
    let inwards = prerouting::tables(&arriving, &site, &mut skipped);
    say_hairpins(&inwards, &mut skipped);
    postrouting::say_redirected(&after.items, &written, &arriving, &mut skipped);

    let kept = written.iter().filter(|rule| !floating::replaces(rule, &inwards));
    let kept: Vec<_> = kept.cloned().collect();
    let too_many = limits::pools(&kept);
    let rules = kept.iter().map(Written::table);
    let tables = rules.chain(inwards.iter().map(|inward| inward.table.clone())).collect();
    let reached: BTreeSet<_> = after.reached.into_iter().chain(before.reached).collect();
    let mut import = report(ruleset, tables, &reached, &skipped);
    // A floating address masquerades its host, as the rule did that it replaces.
    import.remarks.extend(filters.remarks(&written, &inwards));
    import.remarks.extend(remarks::subinterfaces(ruleset, &written, &inwards));
    import.remarks.extend(remarks::not_given(ruleset).filter(|_| !import.tables.is_empty()));
    (import, too_many)
}

/// Lines that are left out but for another's hairpin.
fn say_hairpins(inwards: &[Inward], skipped: &mut Skipped) {
    for inward in inwards.iter().filter(|inward| inward.is_hairpin()) {
        for id in inward.table.lines().filter(|id| *id != inward.line.id) {
            if skipped.lines.remove(&id).is_some() {
                let why = format!("only as hairpin of line {}", inward.line.number);
                skipped.parts.entry(id).or_default().push(why);
            }
        }
    }
}
