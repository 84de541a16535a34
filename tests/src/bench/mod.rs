//! Benchmarks: natbpf beside the alternatives and beside limits, in one run.
//!
//! Every round gives each side labs of its own, one side after the other, and each begins a round in turn, so that a
//! slow moment of the machine meets all. What counts is the ratio of the medians.

mod bare;
mod environment;
mod figures;
mod gate;
mod gateway;
mod housekeeping;
mod json;
mod latency;
mod limits;
mod measure;
mod memory;
mod options;
mod packets;
mod pair;
mod pktgen;
mod progress;
mod repeated;
mod setting;
mod side;
mod streams;
mod svg;
mod table;

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};

pub use bare::Bare;
pub use options::Options;
pub use side::Kind;

use figures::{Figure, Figures};
use limits::Raised;
use measure::{Group, Measure};
use options::Plan;
use progress::Progress;
use setting::Place;
use side::{Side, Sides};

use crate::process::interrupt;

/// The load of a machine that does nothing else.
const IDLE: f64 = 0.5;

/// Does what the command line asks for; whether all is well.
pub fn run(options: &Options) -> Result<bool> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "benchmarks make network namespaces and load BPF programs, which needs root: run it with sudo"
    );
    interrupt::install()?;
    if options.gate {
        return gate::run(options.record);
    }
    let mut plan = Plan::new(options);
    let mut sides = Sides::choose(&options.side, plan.setting, options.against.as_ref(), plan.max_flows())?;
    if let Some(sample) = options.trace {
        sides.add_traced(sample);
    }
    if sides.all.is_empty() {
        bail!("no side is left: {}", sides.left_out.join("; "));
    }
    if options.pktgen {
        let place = Place::of(plan.setting)?;
        println!("{}\n\n{}", plan.setting, pktgen::run(&place, &sides.all, plan.rounds, plan.packets)?);
        return Ok(true);
    }
    let _raised = options.raise_limits.then(|| Raised::to(plan.max_flows())).transpose()?;
    if let Some(connections) = limits::connections() {
        plan.connections = connections;
    }
    let left_out = [sides.left_out.clone(), beyond_netfilter(&plan, &sides.all)].concat();
    left_out.iter().for_each(|line| eprintln!("bench: left out: {line}"));
    // Before the run, which is a load itself.
    let environment = environment::environment();
    if let Some(load) = environment["load_before"].as_f64().filter(|load| *load > IDLE) {
        eprintln!("bench: this machine is busy (load {load}); what else runs is in the figures");
    }
    let figures = measure(&sides.all, &plan)?;
    report(options, &plan, &sides.all, &figures, environment, &left_out)?;
    Ok(true)
}

/// What netfilter is not asked for.
fn beyond_netfilter(plan: &Plan, sides: &[Side]) -> Vec<String> {
    let netfilter = sides.iter().filter(|side| side.is_tracked());
    let too_many = plan.wants_group(Group::Packets) && plan.most_flows() >= plan.connections;
    netfilter
        .filter(|_| too_many)
        .map(|side| {
            format!(
                "{side} with {} flows: net.netfilter.nf_conntrack_max of the machine is {}; --raise-limits raises it \
                 for the run",
                measure::thousands(plan.most_flows()),
                plan.connections
            )
        })
        .collect()
}

fn measure(sides: &[Side], plan: &Plan) -> Result<Figures> {
    type Taking = fn(&Place, &Side, &Plan, &mut dyn FnMut(Measure, f64)) -> Result<()>;
    let takings: [(&str, &[Group], Taking); 2] =
        [("packets", &Group::PACKETS, packets::measure), ("TCP", &Group::STREAMS, streams::measure)];
    let takings: Vec<_> = takings.into_iter().filter(|(_, groups, _)| plan.wants_any(groups)).collect();
    let place = Place::of(plan.setting)?;
    let progress = Progress::new(u64::from(plan.rounds) * (sides.len() * takings.len()) as u64)?;
    let mut figures = Figures::default();
    for round in 0..plan.rounds {
        for (name, _, take) in &takings {
            for turn in 0..sides.len() {
                let side = &sides[(turn + round as usize) % sides.len()];
                interrupt::check()?;
                progress.say(&format!("round {} of {}: {name}, {side}", round + 1, plan.rounds));
                let mut record = |measure, value| {
                    figures.all.push(Figure { measure, side: side.to_string(), round, value });
                };
                take(&place, side, plan, &mut record).with_context(|| side.to_string())?;
                progress.step();
            }
        }
    }
    Ok(figures)
}

fn report(
    options: &Options,
    plan: &Plan,
    sides: &[Side],
    figures: &Figures,
    environment: serde_json::Value,
    left_out: &[String],
) -> Result<()> {
    let names: Vec<String> = sides.iter().map(Side::to_string).collect();
    let setting = format!("{}, flows in {}", plan.setting, plan.order.name());
    println!("{}\n{setting}\n\n{}", environment::line(&environment), table::report(figures, &names));
    left_out.iter().for_each(|line| println!("Left out: {line}"));
    if let Some(path) = &options.json {
        let report = json::report(figures, &names, plan, environment, left_out);
        fs::write(path, format!("{report:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(folder) = &options.svg {
        svg::draw(figures, &names, folder)?;
    }
    Ok(())
}
