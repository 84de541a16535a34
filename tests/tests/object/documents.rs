//! What the documents list is what there is.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use natbpf::datapath::object;
use natbpf_common::contract::{SCHEMA, counter::Counter};
use object::{File, Object as _, ObjectSymbol as _};

/// All pages of the architecture. Part of the program, which runs on other kernels without them.
const ARCHITECTURE: [&str; 5] = [
    include_str!("../../../docs/architecture/README.md"),
    include_str!("../../../docs/architecture/packet.md"),
    include_str!("../../../docs/architecture/flows.md"),
    include_str!("../../../docs/architecture/paths.md"),
    CONTRACT,
];

const CONTRACT: &str = include_str!("../../../docs/architecture/contract.md");

const OPERATIONS: &str = include_str!("../../../docs/operations.md");

/// What stands as code in the first column of any table.
fn listed(document: &str) -> BTreeSet<&str> {
    let columns = document.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
    columns.flat_map(|column| column.split('`').skip(1).step_by(2)).collect()
}

/// Names of the object's symbols in a section.
fn symbols(section: &str) -> Result<BTreeSet<String>> {
    let file = File::parse(object()).context("the object is an ELF file")?;
    let index = |symbol: &object::Symbol<'_, '_>| symbol.section_index();
    let here = |symbol: &object::Symbol<'_, '_>| {
        let section_of = index(symbol).and_then(|index| file.section_by_index(index).ok());
        section_of.is_some_and(|of| object::ObjectSection::name(&of) == Ok(section))
    };
    let names = file.symbols().filter(here).filter_map(|symbol| Some(symbol.name().ok()?.to_owned()));
    Ok(names.filter(|name| !name.is_empty() && !name.starts_with('.')).collect())
}

#[test]
fn the_architecture_has_every_map_and_every_program() -> Result<()> {
    let text = ARCHITECTURE.concat();
    let listed = listed(&text);
    let maps = symbols(".maps")?;
    // That of the log is aya's.
    let maps = maps.iter().map(String::as_str).filter(|name| *name != "AYA_LOGS");
    let programs = ["classifier", "xdp"].map(symbols);
    let [classifiers, xdp] = programs;
    let programs: BTreeSet<_> = classifiers?.into_iter().chain(xdp?).collect();
    assert!(programs.contains("uplink_egress") && programs.contains("edge_xdp"), "{programs:?}");
    for name in maps.chain(programs.iter().map(String::as_str)) {
        assert!(listed.contains(name), "{name} is in the object, but in no table of docs/architecture");
    }
    Ok(())
}

#[test]
fn the_architecture_names_the_folder_of_this_layout() {
    assert!(CONTRACT.contains(&format!("BPFFS/natbpf/INSTANCE/v{SCHEMA}/ ")));
}

#[test]
fn operators_find_every_counter() {
    let listed = listed(OPERATIONS);
    for counter in Counter::ALL {
        let name = counter.name();
        assert!(listed.contains(name), "{name} is in no table of docs/operations.md");
    }
}
