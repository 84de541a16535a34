//! What the tables are, and by which clock they go.

use serde_json::Value;

use crate::conformance::prelude::*;

fn bpftool(bed: &Bed, args: &[&str]) -> Result<String> {
    bed.gw.cmd("bpftool").args(args).output_text()
}

/// The numbers of the programs at the uplink.
fn programs(nat: &mut Translation<'_>) -> Result<Vec<u64>> {
    let status = nat.natbpf()?.status_json()?;
    let attached = &status["uplinks"][0]["attached"];
    ["egress", "ingress"]
        .iter()
        .map(|hook| attached[hook]["program_id"].as_u64().context("the number of a program"))
        .collect()
}

/// The maps of the programs, as bpftool describes them.
fn maps(bed: &Bed, nat: &mut Translation<'_>) -> Result<Vec<Value>> {
    let mut maps = Vec::new();
    for program in programs(nat)? {
        let program: Value =
            serde_json::from_str(&bpftool(bed, &["-j", "prog", "show", "id", &program.to_string()])?)?;
        for id in program["map_ids"].as_array().context("the program's maps")? {
            maps.push(serde_json::from_str(&bpftool(bed, &["-j", "map", "show", "id", &id.to_string()])?)?);
        }
    }
    Ok(maps)
}

fn named<'a>(maps: &'a [Value], name: &str) -> Result<&'a Value> {
    maps.iter().find(|map| map["name"] == name).with_context(|| format!("no map {name}"))
}

pub fn running_flows_are_never_evicted_by_the_map(bed: &Bed) -> Result<Outcome> {
    let mut nat = bed.translate(&Setup::default())?;
    let maps = maps(bed, &mut nat)?;
    for name in ["FLOWS", "MAPPINGS"] {
        let kind = &named(&maps, name)?["type"];
        expect!(kind == "hash", "the map {name} is of type {kind}");
    }
    Ok(Meets)
}

/// The wall clock cannot be set in a test without setting the machine's, so this looks at what the programs ask.
pub fn only_monotonic_clocks_are_asked(bed: &Bed) -> Result<Outcome> {
    let mut nat = bed.translate(&Setup::default())?;
    let mut clocks = std::collections::BTreeSet::new();
    for program in programs(&mut nat)? {
        let code = bpftool(bed, &["prog", "dump", "xlated", "id", &program.to_string()])?;
        let calls = code.split_whitespace().filter_map(|word| word.strip_prefix("bpf_ktime_get_"));
        clocks.extend(calls.map(|clock| clock.split('#').next().unwrap_or_default().to_owned()));
    }
    ensure!(!clocks.is_empty(), "the programs ask no clock, as bpftool shows them");
    let monotonic = ["ns", "coarse_ns", "boot_ns"];
    let others: Vec<_> = clocks.iter().filter(|clock| !monotonic.contains(&clock.as_str())).collect();
    expect!(others.is_empty(), "the programs ask other clocks: {others:?}");
    Ok(Meets)
}

pub fn memory_is_known_beforehand(bed: &Bed) -> Result<Outcome> {
    const NO_PREALLOC: u64 = 1;
    // Far above what everything else takes.
    let room: u32 = 100_000;
    let mut nat = bed.translate(&Setup::default().max_flows(room))?;
    let maps = maps(bed, &mut nat)?;
    let mut memory = 0;
    for name in ["FLOWS", "MAPPINGS"] {
        let map = named(&maps, name)?;
        let flags = map["flags"].as_u64().context("the map's flags")?;
        expect!(flags & NO_PREALLOC == 0, "the map {name} allocates while packets wait");
        memory += map["bytes_memlock"].as_u64().context("the map's memory")?;
    }
    // What docs/architecture/contract.md says that a flow takes in these two at least and at most.
    let each = memory / u64::from(room);
    expect!((364..=420).contains(&each), "a flow takes {each} bytes; the documentation says 364 to 416");
    let status = nat.natbpf()?.status()?;
    if !status.contains("bytes of memory") && !status.contains("memory") {
        return Ok(Partly("documented and allocated at the start, but no command reports it".to_owned()));
    }
    Ok(Meets)
}
