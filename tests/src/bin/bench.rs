//! Side by side in one run: natbpf, iptables MASQUERADE, and plain forwarding without translation.
//!
//! Every round gives each of them a lab of its own, one after the other, so that a slow moment of the machine
//! hits all. What counts is the ratio of the medians.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use lab::traffic::{Run, Traffic};
use lab::{GATEWAY, INSIDE, Kind, Lab, Options, Rule};

/// natbpf, iptables MASQUERADE and plain forwarding, side by side
///
/// Packets of 60 bytes of UDP, made by the kernel on one processor: instance (veth) - gateway - outside
/// (veth). Prints nanoseconds a packet, or a flow, and how many times as many natbpf does in the same time.
/// Needs root.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds; the figures are medians over them
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Packets of a measurement
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(100_000..))]
    packets: u32,

    /// Print JSON: every figure of every round
    #[arg(long)]
    json: bool,
}

/// Flows of the measurements with many.
const FLOWS: u64 = 100_000;

const SIDES: [Kind; 3] = [Kind::None, Kind::Iptables, Kind::Natbpf];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    OneFlow,
    NewFlows,
    ManyFlows,
    Host,
}

impl Measure {
    const ALL: [Self; 4] = [Self::OneFlow, Self::ManyFlows, Self::NewFlows, Self::Host];

    const fn name(self) -> &'static str {
        match self {
            Self::OneFlow => "packets of 1 flow",
            Self::ManyFlows => "packets of 100,000 flows",
            Self::NewFlows => "new flows",
            Self::Host => "the host's own packets",
        }
    }
}

/// Nanoseconds, by measure and side, one a round.
type Figures = Vec<(Measure, Kind, f64)>;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut figures = Figures::new();
    for round in 0..arguments.rounds {
        // Each begins a round in turn.
        for turn in 0..SIDES.len() {
            let side = SIDES[(turn + round as usize) % SIDES.len()];
            eprintln!("round {} of {}: {side}", round + 1, arguments.rounds);
            measure(side, arguments.packets, &mut figures).with_context(|| side.to_string())?;
        }
    }
    if arguments.json {
        for (measure, side, nanoseconds) in &figures {
            println!(
                "{}",
                serde_json::json!({ "measure": measure.name(), "side": side.to_string(), "nanoseconds": nanoseconds })
            );
        }
    } else {
        println!("{}", table(&figures));
    }
    Ok(())
}

fn measure(side: Kind, packets: u32, figures: &mut Figures) -> Result<()> {
    let lab = Lab::with(Options { bridge: false, ..Options::default() })?;
    let _translation = lab.translate(side, &[Rule::new("wan").source(INSIDE)])?;
    let mut traffic = Traffic::new(&lab, GATEWAY)?;
    let flows = FLOWS as u32;
    // Warms caches, and makes the one flow.
    check(side, traffic.send(&lab, flows, 1, 0)?)?;
    let one = check(side, traffic.send(&lab, packets, 1, 0)?)?;
    let new = check(side, traffic.send(&lab, flows, FLOWS, 1)?)?;
    let many = check(side, traffic.send(&lab, packets, FLOWS, 1)?)?;
    let host = host(&lab, packets)?;
    for (measure, cost) in
        [(Measure::OneFlow, one), (Measure::NewFlows, new), (Measure::ManyFlows, many), (Measure::Host, host)]
    {
        figures.push((measure, side, cost));
    }
    Ok(())
}

/// The cost of a packet, if all went well.
fn check(side: Kind, run: Run) -> Result<f64> {
    let arrived = if side == Kind::None { run.untranslated } else { run.translated };
    let wrong = if side == Kind::None { run.translated } else { run.untranslated };
    if arrived != run.sent || wrong != 0 {
        bail!("of {} packets {arrived} arrived as they should and {wrong} otherwise", run.sent);
    }
    Ok(run.cost())
}

/// What a datagram that the gateway itself sends costs.
fn host(lab: &Lab, packets: u32) -> Result<f64> {
    let socket = lab.gw.udp((GATEWAY, 0))?;
    socket.connect((Ipv4Addr::new(198, 18, 255, 1), 9))?;
    let send = |count: u32| -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..count {
            socket.send(&[0; 18])?;
        }
        Ok(start.elapsed())
    };
    send(packets / 10)?;
    Ok(send(packets)?.as_secs_f64() * 1e9 / f64::from(packets))
}

fn table(figures: &Figures) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "ns each",
        "no translation",
        "iptables",
        "natbpf",
        "iptables / natbpf",
        "natbpf / no translation",
    ]);
    for measure in Measure::ALL {
        let [none, iptables, natbpf] = SIDES.map(|side| median(figures, measure, side));
        table.add_row([
            measure.name().to_owned(),
            format!("{none:.0}"),
            format!("{iptables:.0}"),
            format!("{natbpf:.0}"),
            format!("{:.2}", iptables / natbpf),
            format!("{:.2}", natbpf / none),
        ]);
    }
    for column in 1..=5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn median(figures: &Figures, measure: Measure, side: Kind) -> f64 {
    let mut all: Vec<f64> = figures
        .iter()
        .filter(|figure| (figure.0, figure.1) == (measure, side))
        .map(|figure| figure.2)
        .collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}
