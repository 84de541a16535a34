//! The rules, and what is said where one is broken.

use std::collections::BTreeSet;

use super::{
    circles,
    imports::Import,
    plan::{Floors, RULES},
    tree::Tree,
};

/// Every top-level module is listed once, and every listed room exists.
pub fn rooms(name: &str, floors: &Floors, tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    let existing: BTreeSet<_> = tree.files.iter().filter_map(|file| file.room.as_deref()).collect();
    let mut listed = BTreeSet::new();
    for room in floors.rooms() {
        if !listed.insert(room) {
            findings.push(format!("{RULES}: room `{room}` of {name} is listed twice"));
        } else if !existing.contains(room) {
            findings.push(format!("{RULES}: {name} has no room `{room}`"));
        }
    }
    let unlisted = existing.difference(&listed);
    findings.extend(unlisted.map(|room| format!("{RULES}: room `{room}` of {name} is not listed")));
    findings
}

/// A file imports only from its own room and from rooms on lower floors. What is not listed is left to [`rooms`].
pub fn directions(floors: &Floors, tree: &Tree, imports: &[Import]) -> Vec<String> {
    let mut findings = Vec::new();
    for finding in imports.iter().filter_map(|import| direction(floors, tree, import)) {
        // One line may import from several files of a room.
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings
}

fn direction(floors: &Floors, tree: &Tree, import: &Import) -> Option<String> {
    let [from, to] = [import.from, import.to].map(|file| tree.files[file].room.as_deref());
    // The root is on top.
    let from = from?;
    let place = format!("{}:{}", tree.show(import.from), import.line);
    let Some(to) = to else {
        return Some(format!("{place}: room `{from}` may not import from the crate root, which is above it"));
    };
    let (own, other) = (floors.floor(from)?, floors.floor(to)?);
    if from == to || other > own {
        return None;
    }
    let relation = if other == own { "beside" } else { "above" };
    Some(format!("{place}: room `{from}` may not import from room `{to}`, which is {relation} it"))
}

/// No files import each other in a circle, in one room or in several.
pub fn circles(name: &str, tree: &Tree, imports: &[Import]) -> Vec<String> {
    let edges: Vec<_> = imports.iter().map(|import| (import.from, import.to)).collect();
    let circles = circles::circles(tree.files.len(), &edges);
    circles.iter().map(|circle| show_circle(name, tree, imports, circle)).collect()
}

/// A line for each file, with all that it imports from the circle.
fn show_circle(name: &str, tree: &Tree, imports: &[Import], circle: &[usize]) -> String {
    let mut lines = vec![format!("{name}: {} files import each other in a circle", circle.len())];
    let mut circle = circle.to_vec();
    circle.sort_by_key(|&file| &tree.files[file].path);
    for &file in &circle {
        let own = imports.iter().filter(|import| import.from == file && circle.contains(&import.to));
        let edges: Vec<_> = own
            .map(|import| format!("{} -> {}", import.line, tree.files[import.to].path.display()))
            .collect();
        lines.push(format!("  {}:{}", tree.show(file), edges.join(", ")));
    }
    lines.join("\n")
}
