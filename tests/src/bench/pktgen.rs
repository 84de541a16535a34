//! The kernel's own packet generator, where there is one: an independent witness for the generator of these benchmarks.
//!
//! pktgen sends from vm1's interface, in vm1's namespace, as fast as it can. What cannot be forwarded in the meantime is lost, so
//! the figure is what arrives outside, each second.

mod control;
mod result;

use anyhow::{Result, bail};

use super::gateway::{Running, external};
use super::side::{Kind, Side};
use super::table::number;
use crate::interrupt;
use crate::topology::{Lab, Options};
use crate::traffic::{Sink, Traffic};

use control::Pktgen;

/// What came of a side.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    sent: u64,
    arrived: u64,
    /// Arrived with the wrong source.
    wrong: u64,
    seconds: f64,
}

impl Outcome {
    fn rate(&self) -> f64 {
        self.arrived as f64 / self.seconds
    }
}

/// Plain forwarding, iptables and every natbpf, one after the other.
pub fn run(sides: &[Side], packets: u32) -> Result<()> {
    let mut iptables = None;
    for side in sides {
        if !matches!(side.kind, Kind::Plain | Kind::Iptables) && !side.kind.is_natbpf() {
            continue;
        }
        interrupt::check()?;
        let outcome = drive(side, packets)?;
        if side.kind == Kind::Iptables {
            iptables = Some(outcome.rate());
        }
        let times = iptables.map_or_else(|| "–".to_owned(), |rate| format!("{:.2}", outcome.rate() / rate));
        println!(
            "{side}, {} flows: sent {}, forwarded {}, dropped {}, {} packets/s, × iptables {times}",
            control::FLOWS,
            outcome.sent,
            outcome.arrived,
            outcome.sent.saturating_sub(outcome.arrived),
            number(outcome.rate()),
        );
        if outcome.wrong > 0 {
            bail!("{side}: {} packets arrived with the wrong source", outcome.wrong);
        }
    }
    Ok(())
}

fn drive(side: &Side, packets: u32) -> Result<Outcome> {
    let lab = Lab::with(Options { bridge: false, ..Options::default() })?;
    let pktgen = Pktgen::of(&lab)?;
    let _running = Running::start(&lab, side)?;
    let traffic = Traffic::with(&lab, external(side), Sink::Both)?;
    // The first packets begin the flows.
    pktgen.run(packets / 10)?;
    let before = traffic.received()?;
    let result = pktgen.run(packets)?;
    let after = traffic.received()?;
    let (translated, untranslated) = (after.expected - before.expected, after.other - before.other);
    let (arrived, wrong) =
        if side.kind.translates() { (translated, untranslated) } else { (untranslated, translated) };
    Ok(Outcome { sent: result.sent, arrived, wrong, seconds: result.seconds })
}
