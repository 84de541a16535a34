//! The table of causes, a file for each kind.

use super::Cause;

mod addressing;
mod bridging;
mod crossing;
mod filter;
mod forwarding;
mod links;
mod neighbours;
mod networks;
mod routing;
mod sizes;
mod stations;
mod translation;
mod vlans;
mod wiring;

const TABLES: [&[Cause]; 13] = [
    networks::CAUSES,
    addressing::CAUSES,
    links::CAUSES,
    wiring::CAUSES,
    bridging::CAUSES,
    vlans::CAUSES,
    stations::CAUSES,
    sizes::CAUSES,
    neighbours::CAUSES,
    routing::CAUSES,
    forwarding::CAUSES,
    filter::CAUSES,
    translation::CAUSES,
];

/// Every cause that is looked for.
pub fn all() -> impl Iterator<Item = &'static Cause> {
    TABLES.into_iter().flatten()
}

/// The same in the order in which a packet meets them, as the documents show them.
pub fn table() -> Vec<&'static Cause> {
    let mut table: Vec<_> = all().collect();
    table.sort_by_key(|cause| (cause.stage, cause.severity, cause.name));
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_has_a_name_of_its_own() {
        let names: BTreeSet<_> = all().map(|cause| cause.name).collect();
        assert_eq!(names.len(), all().count());
        for name in names {
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            );
        }
    }
}
