//! A gate for changes: what each program of the object costs alone, beside what was recorded.
//!
//! Two figures that hold on any machine: how many instructions the verifier went through, and the time of a run as a
//! multiple of that of a program that does nothing, measured beside it. The least of many runs counts, since
//! whatever disturbs a run makes it longer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aya::Ebpf;
use aya::programs::Program;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::{bare, environment};
use crate::addresses::{SERVER, VM1};
use crate::object::cost::time;
use crate::object::{Object, PLAIN, Packet};
use crate::process::interrupt;

/// Runs of a program in a row; fewer than a flow's time stamp lasts.
const REPEAT: u32 = 100_000;
const ROUNDS: u32 = 15;

/// How much more than what was recorded is too much.
const MORE_INSTRUCTIONS: f64 = 1.10;
const MORE_TIME: f64 = 1.30;

/// What a program costs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    verified: u32,
    /// How many times as long as a program that does nothing; none for a program that takes no packets.
    ratio: Option<f64>,
}

type Costs = BTreeMap<String, Cost>;

/// Measures, and compares with the file or writes it; whether nothing has become too costly.
pub fn run(record: bool) -> Result<bool> {
    let path = file();
    let recorded = if record { None } else { Some(read(&path)?) };
    let costs = measure()?;
    let kernel = environment::kernel().context("cannot read the kernel's version")?;
    println!("{}", table(&costs, recorded.as_ref().map(|recorded| &recorded.costs)));
    let Some(recorded) = recorded else {
        fs::write(&path, format!("{:#}\n", to_json(&costs, &kernel)))
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("Written to {}", path.display());
        return Ok(true);
    };
    let same_verifier = series(&kernel) == series(&recorded.kernel);
    if !same_verifier {
        println!(
            "Verified instructions are not compared: they were recorded on Linux {}, whose verifier may count others \
             than that of {kernel}.",
            recorded.kernel
        );
    }
    let complaints = compare(&costs, &recorded.costs, same_verifier);
    complaints.iter().for_each(|complaint| println!("{complaint}"));
    if complaints.is_empty() {
        println!("No program has become too costly.");
    } else {
        println!("If that is meant to be: `cargo xtask bench -- --gate --record` writes {}.", path.display());
    }
    Ok(complaints.is_empty())
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("gate.json")
}

fn measure() -> Result<Costs> {
    let mut object = Object::new(PLAIN);
    let mut nothing = Ebpf::load(bare::OBJECT).context("cannot load the programs that do nothing")?;
    for name in ["nothing", "nothing_xdp"] {
        match nothing.program_mut(name).with_context(|| format!("no program {name}"))? {
            Program::SchedClassifier(program) => program.load()?,
            Program::Xdp(program) => program.load()?,
            _ => bail!("{name} is neither a TC program nor an XDP program"),
        }
    }
    let frame = Packet::udp((VM1, 5000), (SERVER, 9000)).bytes();
    let baseline = |xdp: bool| -> Result<Duration> {
        let program = nothing.program(if xdp { "nothing_xdp" } else { "nothing" });
        time(program.context("it was loaded")?, &frame, REPEAT)
    };
    // The clock of a virtual processor changes from moment to moment, so each round has its own baseline.
    let programs = object.verified();
    let mut least: BTreeMap<&str, (Duration, Duration)> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for (name, _) in &programs {
            interrupt::check()?;
            let xdp = object.is_xdp(name);
            let Some(cost) = object.cost(name, REPEAT)? else { continue };
            let (cost, empty) = (cost, baseline(xdp)?);
            let of_it = least.entry(name).or_insert((cost, empty));
            *of_it = (of_it.0.min(cost), of_it.1.min(empty));
        }
    }
    let ratio = |(cost, empty): &(Duration, Duration)| {
        // The kernel gives whole nanoseconds, of which a program that does nothing may take less than one.
        cost.as_secs_f64() / empty.max(&Duration::from_nanos(1)).as_secs_f64()
    };
    let cost = |(name, verified): &(String, u32)| {
        let cost = Cost { verified: *verified, ratio: least.get(name.as_str()).map(ratio) };
        (name.clone(), cost)
    };
    Ok(programs.iter().map(cost).collect())
}

/// What has become too costly, a sentence each.
fn compare(costs: &Costs, recorded: &Costs, same_verifier: bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, cost) in costs {
        let Some(before) = recorded.get(name) else {
            complaints.push(format!("{name}: nothing is recorded of this program"));
            continue;
        };
        if same_verifier && f64::from(cost.verified) > f64::from(before.verified) * MORE_INSTRUCTIONS {
            complaints.push(format!(
                "{name}: the verifier goes through {} instructions, more than 10 % above {}",
                cost.verified, before.verified
            ));
        }
        if let (Some(now), Some(then)) = (cost.ratio, before.ratio)
            && now > then * MORE_TIME
        {
            complaints.push(format!(
                "{name}: takes {now:.1} times as long as a program that does nothing, more than 30 % above {then:.1}"
            ));
        }
    }
    let gone = recorded.keys().filter(|name| !costs.contains_key(*name));
    complaints.extend(gone.map(|name| format!("{name}: recorded, but not in the object any more")));
    complaints
}

/// Major and minor version: in a series the verifier stays the same.
fn series(kernel: &str) -> String {
    kernel.split(['.', '-']).take(2).collect::<Vec<_>>().join(".")
}

struct Recorded {
    kernel: String,
    costs: Costs,
}

fn to_json(costs: &Costs, kernel: &str) -> Value {
    let program = |(name, cost): (&String, &Cost)| {
        let ratio = cost.ratio.map(|ratio| (ratio * 100.0).round() / 100.0);
        (name.clone(), json!({ "verified_instructions": cost.verified, "times_nothing": ratio }))
    };
    json!({ "kernel": kernel, "programs": costs.iter().map(program).collect::<serde_json::Map<_, _>>() })
}

fn read(path: &Path) -> Result<Recorded> {
    let text = fs::read_to_string(path).with_context(|| {
        format!("cannot read {}; `cargo xtask bench -- --gate --record` writes it", path.display())
    })?;
    from_json(&serde_json::from_str(&text)?)
        .with_context(|| format!("{} is not as --record writes it", path.display()))
}

fn from_json(value: &Value) -> Option<Recorded> {
    let mut costs = Costs::new();
    for (name, cost) in value["programs"].as_object()? {
        let verified = u32::try_from(cost["verified_instructions"].as_u64()?).ok()?;
        costs.insert(name.clone(), Cost { verified, ratio: cost["times_nothing"].as_f64() });
    }
    Some(Recorded { kernel: value["kernel"].as_str()?.to_owned(), costs })
}

fn table(costs: &Costs, recorded: Option<&Costs>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["program", "verified instructions", "recorded", "× nothing", "recorded"]);
    let ratio = |cost: Option<&Cost>| {
        cost.and_then(|cost| cost.ratio).map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"))
    };
    for (name, cost) in costs {
        let before = recorded.and_then(|recorded| recorded.get(name));
        table.add_row([
            name.clone(),
            cost.verified.to_string(),
            before.map_or_else(|| "–".to_owned(), |before| before.verified.to_string()),
            ratio(Some(cost)),
            ratio(before),
        ]);
    }
    for column in 1..5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(programs: &[(&str, u32, Option<f64>)]) -> Costs {
        let cost = |(name, verified, ratio): &(&str, u32, Option<f64>)| {
            ((*name).to_owned(), Cost { verified: *verified, ratio: *ratio })
        };
        programs.iter().map(cost).collect()
    }

    #[test]
    fn what_has_grown_too_much_is_named() {
        let recorded =
            costs(&[("egress", 1000, Some(10.0)), ("ingress", 1000, Some(10.0)), ("reap", 50, None)]);
        assert!(compare(&recorded, &recorded, true).is_empty());
        let within = costs(&[("egress", 1100, Some(13.0)), ("ingress", 1, Some(0.1)), ("reap", 55, None)]);
        assert!(compare(&within, &recorded, true).is_empty());
        let beyond =
            costs(&[("egress", 1101, Some(10.0)), ("ingress", 1000, Some(13.1)), ("reap", 50, None)]);
        let complaints = compare(&beyond, &recorded, true);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[0].starts_with("egress: the verifier goes through 1101 "));
        assert!(complaints[1].starts_with("ingress: takes 13.1 times"));
        assert_eq!(compare(&beyond, &recorded, false).len(), 1, "another verifier counts otherwise");
    }

    #[test]
    fn programs_that_come_and_go_have_to_be_recorded() {
        let (old, new) = (costs(&[("a", 1, None)]), costs(&[("b", 1, None)]));
        let complaints = compare(&new, &old, true);
        assert_eq!(complaints.len(), 2);
        assert!(complaints[0].starts_with("b: nothing is recorded"));
        assert!(complaints[1].starts_with("a: recorded, but"));
    }

    #[test]
    fn what_was_written_is_read() {
        let costs = costs(&[("egress", 1000, Some(10.25)), ("reap", 50, None)]);
        let read = from_json(&to_json(&costs, "6.18.1-x")).expect("what was written");
        assert_eq!((read.costs, read.kernel.as_str()), (costs, "6.18.1-x"));
        assert_eq!([series("6.18.1-x"), series("6.1-rc2")], ["6.18", "6.1"]);
    }
}
