//! Whether each file imports only from its own room and from rooms below it, as `layers.toml` has them.

mod attributes;
mod circles;
#[cfg(test)]
mod fixture;
mod imports;
mod names;
mod plan;
mod rules;
#[cfg(test)]
mod tests;
mod tokens;
mod tree;
mod uses;

use std::path::Path;

use anyhow::{Result, bail};

use plan::{Plan, RULES};
use tree::Tree;

/// Prints what is wrong, all at once; anything is an error.
pub fn check(workspace: &Path) -> Result<()> {
    let report = inspect(workspace)?;
    if report.findings.is_empty() {
        println!("layers: {} files in {} rooms, no circle", report.files, report.rooms);
        return Ok(());
    }
    for finding in &report.findings {
        eprintln!("{finding}");
    }
    bail!(
        "layers: {} findings; which room may import from which is written in {RULES}",
        report.findings.len()
    );
}

#[derive(Debug, Default)]
struct Report {
    files: usize,
    rooms: usize,
    findings: Vec<String>,
}

fn inspect(workspace: &Path) -> Result<Report> {
    let mut report = Report::default();
    for (name, floors) in Plan::read(workspace)?.crates() {
        let tree = Tree::read(workspace, &Path::new(name).join("src"))?;
        let imports = imports::of(&tree);
        report.files += tree.files.len();
        report.rooms += floors.rooms().count();
        report.findings.extend(rules::rooms(name, floors, &tree));
        report.findings.extend(rules::directions(floors, &tree, &imports));
        report.findings.extend(rules::circles(name, &tree, &imports));
    }
    Ok(report)
}
