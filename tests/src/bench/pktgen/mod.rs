//! The kernel's own packet generator, where there is one: an independent witness for the generator of these benchmarks.
//!
//! pktgen sends from the instance's interface, in its namespace, as fast as it can. What cannot be forwarded in the
//! meantime is lost, so the figure is what arrives outside, each second.

mod control;
mod result;

use anyhow::{Context as _, Result, bail};
use comfy_table::{CellAlignment, Table, presets};

use super::figures::Summary;
use super::gateway::{Running, external};
use super::setting::Place;
use super::side::{Kind, Side};
use super::table::number;
use crate::process::interrupt;
use crate::traffic::{Options, Sink, Traffic};

use control::Pktgen;

/// What came of a side in a round.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    sent: u64,
    arrived: u64,
    /// Arrived with the wrong source.
    wrong: u64,
    seconds: f64,
}

/// Plain forwarding, iptables, nft and every natbpf, in turns. The table has sums over the rounds, and the medians
/// of the rates.
pub fn run(place: &Place, sides: &[Side], rounds: u32, packets: u32) -> Result<Table> {
    let sides: Vec<_> = sides.iter().filter(|side| takes_part(side.kind)).collect();
    let mut outcomes = vec![Vec::new(); sides.len()];
    for round in 0..rounds as usize {
        for turn in 0..sides.len() {
            let number = (turn + round) % sides.len();
            let side = sides[number];
            interrupt::check()?;
            eprintln!("bench: round {} of {rounds}: pktgen, {side}", round + 1);
            let outcome = drive(place, side, packets).with_context(|| side.to_string())?;
            if outcome.wrong > 0 {
                bail!("{side}: {} packets arrived with the wrong source", outcome.wrong);
            }
            outcomes[number].push(outcome);
        }
    }
    Ok(table(&sides, &outcomes))
}

fn takes_part(kind: Kind) -> bool {
    matches!(kind, Kind::Plain | Kind::Iptables | Kind::Nft) || kind.is_natbpf()
}

fn table(sides: &[&Side], outcomes: &[Vec<Outcome>]) -> Table {
    let rates: Vec<_> = outcomes.iter().map(|outcomes| rate(outcomes)).collect();
    let times = |rate: f64, reference| {
        let place = sides.iter().position(|side| side.kind == reference);
        place.map_or_else(|| "–".to_owned(), |place| format!("{:.2}", rate / rates[place]))
    };
    let header = ["", "sent", "forwarded", "dropped", "packets/s", "× iptables", "× plain"];
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header);
    for ((side, outcomes), rate) in sides.iter().zip(outcomes).zip(&rates) {
        let sent: u64 = outcomes.iter().map(|outcome| outcome.sent).sum();
        let arrived: u64 = outcomes.iter().map(|outcome| outcome.arrived).sum();
        table.add_row([
            side.to_string(),
            sent.to_string(),
            arrived.to_string(),
            sent.saturating_sub(arrived).to_string(),
            number(*rate),
            times(*rate, Kind::Iptables),
            times(*rate, Kind::Plain),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The median of what arrived each second.
fn rate(outcomes: &[Outcome]) -> f64 {
    let rates = outcomes.iter().map(|outcome| outcome.arrived as f64 / outcome.seconds);
    Summary::of(rates.collect()).map_or(0.0, |summary| summary.median)
}

fn drive(place: &Place, side: &Side, packets: u32) -> Result<Outcome> {
    let site = place.site()?;
    let pktgen = Pktgen::of(site.inside())?;
    let _running = Running::start(place, &*site, side)?;
    let options = Options { sink: Sink::Both, ..Options::of(external(&*site, side)) };
    let traffic = Traffic::with(&*site, options)?;
    // The first packets begin the flows.
    pktgen.run(packets / 10)?;
    let before = traffic.received()?;
    let result = pktgen.run(packets)?;
    let after = traffic.received()?;
    let (translated, untranslated) = (after.expected - before.expected, after.other - before.other);
    let (arrived, wrong) =
        if side.translates() { (translated, untranslated) } else { (untranslated, translated) };
    Ok(Outcome { sent: result.sent, arrived, wrong, seconds: result.seconds })
}
