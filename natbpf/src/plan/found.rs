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
}

/// Such a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEdge {
    pub name: String,
    /// Whether it is an edge, and why, in words.
    pub sentence: String,
}

/// Whether packets of instances may enter or leave the host by a device: a network card, a TAP, or the host's end of a
/// veth pair into a namespace that is an end. `None`: it is no such device at all.
pub fn edge(link: &Link, namespaces: &Namespaces) -> Option<Found> {
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
        let sentence = match edge(link, &snapshot.namespaces)? {
            Found::Edge => format!("{} is an edge: {}", link.name, why(link, &snapshot.namespaces)),
            Found::Passed => {
                let middle = snapshot.namespaces.passed(link)?;
                format!(
                    "{} is no edge: it leads into the network namespace {}, which packets pass and leave by another device; \
                     name it to have it as one",
                    link.name, middle.handle
                )
            }
        };
        Some(FoundEdge { name: link.name.clone(), sentence })
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
