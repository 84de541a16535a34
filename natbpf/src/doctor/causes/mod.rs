//! The table of causes, a file for each kind.

use super::Cause;

pub use queues::EARLIER;

mod addressing;
mod bridge_filter;
mod bridging;
mod conntrack;
mod crossing;
mod dhcp;
mod dns;
mod filter;
mod flowtables;
mod forwarding;
mod host;
mod input;
mod links;
mod neighbours;
mod networks;
mod offloads;
mod own;
mod policy;
mod ports;
mod proxy;
mod queues;
mod routing;
mod sizes;
mod stations;
mod systems;
mod translation;
mod twice;
mod vlans;
mod vrfs;
mod wiring;
mod zones;

const TABLES: &[&[Cause]] = &[
    host::CAUSES,
    networks::CAUSES,
    addressing::CAUSES,
    dhcp::CAUSES,
    dns::CAUSES,
    links::CAUSES,
    wiring::CAUSES,
    offloads::CAUSES,
    queues::CAUSES,
    bridging::CAUSES,
    vlans::CAUSES,
    stations::CAUSES,
    sizes::CAUSES,
    neighbours::CAUSES,
    routing::CAUSES,
    policy::CAUSES,
    vrfs::CAUSES,
    proxy::CAUSES,
    forwarding::CAUSES,
    filter::CAUSES,
    systems::CAUSES,
    flowtables::CAUSES,
    input::CAUSES,
    bridge_filter::CAUSES,
    translation::CAUSES,
    twice::CAUSES,
    ports::CAUSES,
    zones::CAUSES,
    conntrack::CAUSES,
    own::CAUSES,
];

/// Every cause that is looked for.
pub fn all() -> impl Iterator<Item = &'static Cause> {
    TABLES.iter().copied().flatten()
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
    use crate::manual;

    fn row(Cause { name, severity, stage, title, .. }: &Cause) -> String {
        format!("| `{name}` | {} | {} | {title} |\n", severity.name(), stage.name())
    }

    #[test]
    fn the_document_has_the_table() {
        let head = "| cause | severity | where | what it is |\n|---|---|---|---|\n".to_owned();
        let made = table().into_iter().map(row).fold(head, |made, row| made + &row);
        manual::holds("docs/outside.md", "causes", &made);
    }

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
