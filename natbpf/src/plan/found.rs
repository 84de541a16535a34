//! Which devices are edges where none is named: those by which packets of instances enter and leave the host.

use crate::{
    config::{Config, Edges},
    network::{Link, Namespaces, Snapshot},
};

/// What a device that may be an edge is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Edge,
    /// What it leads into packets pass, and come back.
    Passed,
    /// Its packets have no Ethernet header, so none of them is repeated.
    Bare,
}

/// The same in words.
const BARE: &str = "its packets have no Ethernet header, and take the kernel's way";

/// Such a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEdge {
    pub name: String,
    /// Whether it is an edge, and why, in words.
    pub sentence: String,
    /// What is to be known of it later, too: why packets by it are not repeated.
    pub left_out: Option<&'static str>,
}

/// Whether packets of instances may enter or leave the host by a device: a network card, a TAP, or the host's end of a
/// veth pair into a namespace that is an end. `None`: it is no such device at all.
pub fn edge(link: &Link, namespaces: &Namespaces) -> Option<Found> {
    if link.link_header() == Some(0) {
        return link.up.then_some(Found::Bare);
    }
    if link.link_layer != libc::ARPHRD_ETHER || link.name == "lo" {
        return None;
    }
    if is_card(link) || link.is("tun") {
        return Some(Found::Edge);
    }
    if !link.is("veth") || !link.abroad {
        return None;
    }
    Some(if namespaces.passed(link).is_some() { Found::Passed } else { Found::Edge })
}

fn is_card(link: &Link) -> bool {
    link.kind.is_none() || link.is("bond") || link.is("team")
}

/// Why each device is an edge, or none, where edges are to be found.
pub fn edges(config: &Config, snapshot: &Snapshot) -> Vec<FoundEdge> {
    if !config.accelerate.contains(&Edges::Found) {
        return Vec::new();
    }
    let found = snapshot.links.iter().filter_map(|link| {
        let found = edge(link, &snapshot.namespaces)?;
        let sentence = match found {
            Found::Edge => format!("{} is an edge: {}", link.name, why(link, &snapshot.namespaces)),
            Found::Passed => {
                let middle = snapshot.namespaces.passed(link)?;
                format!(
                    "{} is no edge: it leads into the network namespace {}, which packets pass and leave by another device; \
                     name it to have it as one",
                    link.name, middle.handle
                )
            }
            Found::Bare => format!("{} is no edge: {BARE}", link.name),
        };
        let left_out = (found == Found::Bare).then_some(BARE);
        Some(FoundEdge { name: link.name.clone(), sentence, left_out })
    });
    found.collect()
}

fn why(link: &Link, namespaces: &Namespaces) -> String {
    if link.is("tun") {
        return "a TAP".to_owned();
    }
    if link.is("veth") {
        return match namespaces.name(link) {
            Some(name) => format!("it leads into the network namespace {name}, where packets end"),
            None => "it leads into another network namespace, where packets end".to_owned(),
        };
    }
    "a network card".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_ethernet_header_is_said_to_be_none() {
        let config = Config { accelerate: vec![Edges::Found], ..Config::default() };
        let link =
            |name: &str, link_layer, up| Link { name: name.to_owned(), link_layer, up, ..Link::default() };
        let links = vec![
            link("eth0", libc::ARPHRD_ETHER, true),
            link("lo", libc::ARPHRD_LOOPBACK, true),
            link("ppp0", libc::ARPHRD_PPP, true),
            link("tunl0", libc::ARPHRD_TUNNEL, false),
            link("wg0", libc::ARPHRD_NONE, true),
        ];
        let found = edges(&config, &Snapshot { links, ..Snapshot::default() });
        let found: Vec<_> = found.iter().map(|edge| (&*edge.name, edge.left_out.is_some())).collect();
        assert_eq!(found, [("eth0", false), ("ppp0", true), ("wg0", true)]);
    }
}
