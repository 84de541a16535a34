//! `natbpf accelerate` in the place of natbpf's NAT: netfilter translates, and natbpf repeats what it does. Each row is
//! run with iptables alone and with iptables so accelerated, and the same has to come out.

pub mod report;
mod tally;

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::bed::Bed;
use super::row::{Case, Outcome, Row, Test};
use super::run::{Verdict, each, judge};
use crate::gateway::nat::Kind;
pub use tally::Tally;

/// How often iptables alone is asked again where something else has come out: what some rows see is a matter of chance.
const AGAIN: usize = 4;

/// What `natbpf accelerate` sets, so that conntrack goes on believing in connections most of whose segments it does not
/// see.
pub const LIBERAL: &str = "net.netfilter.nf_conntrack_tcp_be_liberal";

/// A row, and what came out with and without.
#[derive(Clone, Debug)]
pub struct Comparison {
    pub row: &'static Row,
    /// With iptables alone: once, and more often where the two differ.
    pub alone: Vec<Verdict>,
    /// With iptables and `natbpf accelerate`.
    pub accelerated: Verdict,
    /// Where the two differ: with iptables alone, and conntrack as liberal as it is with natbpf ([`LIBERAL`]).
    pub liberal: Option<Verdict>,
    /// `None`: the test did not start a translator, or broke.
    pub tally: Option<Tally>,
    pub took: Duration,
}

impl Comparison {
    /// Whether there is something to compare.
    pub const fn is_possible(&self) -> bool {
        matches!(self.row.test, Test::Both(_))
    }

    /// Whether something came out that iptables alone never shows.
    pub fn differs(&self) -> bool {
        self.is_possible() && !self.alone.contains(&self.accelerated)
    }

    /// Whether the same comes out without natbpf where [`LIBERAL`] is set: that is what makes the difference, and not
    /// what is repeated.
    pub fn is_by_liberal(&self) -> bool {
        self.differs() && self.liberal.as_ref() == Some(&self.accelerated)
    }

    /// Whether iptables alone shows now this, now that.
    pub fn varies(&self) -> bool {
        self.alone.iter().any(|verdict| *verdict != self.alone[0])
    }

    /// Why this row makes the command fail, if it does.
    pub fn failure(&self) -> Option<String> {
        let broke = self.alone.iter().chain([&self.accelerated]).find_map(|verdict| match verdict {
            Verdict::Error(why) => Some(why),
            _ => None,
        });
        if let Some(why) = broke {
            return Some(format!("{}: the test broke: {why}", self.row.id));
        }
        self.differs().then(|| {
            let cause = if self.is_by_liberal() { format!(", as with {LIBERAL} = 1") } else { String::new() };
            format!(
                "{}: with iptables alone: {}; with natbpf accelerate{cause}: {}",
                self.row.id,
                self.alone[0].text(),
                self.accelerated.text()
            )
        })
    }
}

/// Compares `rows` by `jobs` threads, as [`run`](super::run::run).
///
/// # Errors
/// After a Ctrl-C.
pub fn run(rows: &[&'static Row], jobs: usize, done: impl Fn(&Comparison) + Sync) -> Result<Vec<Comparison>> {
    each(rows, jobs, compare, done)
}

/// Compares one row on the calling thread.
pub fn compare(row: &'static Row) -> Comparison {
    let start = Instant::now();
    let mut tally = None;
    let (alone, accelerated) = match row.test {
        Test::Both(case) => {
            let accelerated = judge(case, Bed::accelerated, |bed, _| {
                tally = count(bed)?;
                Ok(())
            });
            (ask_alone(case, &accelerated), accelerated)
        }
        Test::Natbpf(_) | Test::Bridge(_) => (vec![Verdict::NotApplicable], Verdict::NotApplicable),
        Test::None(_) => (vec![Verdict::NotTested], Verdict::NotTested),
    };
    let mut comparison = Comparison { row, alone, accelerated, liberal: None, tally, took: Duration::ZERO };
    if let (Test::Both(case), true) = (row.test, comparison.differs()) {
        comparison.liberal = Some(judge(case, liberal, |_, _| Ok(())));
    }
    Comparison { took: start.elapsed(), ..comparison }
}

fn liberal() -> Result<Bed> {
    let bed = Bed::new(Kind::Iptables)?;
    bed.gw.sysctl(LIBERAL, "1")?;
    Ok(bed)
}

/// What comes out with iptables alone, until that is what came out with both.
fn ask_alone(case: Case, accelerated: &Verdict) -> Vec<Verdict> {
    let nothing = |_: &Bed, _: &Result<Outcome>| Ok(());
    let mut alone = Vec::new();
    while alone.len() <= AGAIN && !alone.contains(accelerated) {
        alone.push(judge(case, || Bed::new(Kind::Iptables), nothing));
    }
    alone
}

/// What was repeated in a bed.
fn count(bed: &Bed) -> Result<Option<Tally>> {
    let Some(accelerator) = bed.accelerator() else { return Ok(None) };
    let status = accelerator.status_json()?;
    ensure!(status["daemon_running"] == true, "`natbpf accelerate` has ended: {}", accelerator.log());
    match Tally::of(&status) {
        Some(tally) => Ok(Some(tally)),
        None => bail!("`natbpf status --json` does not say what was repeated: {status}"),
    }
}

/// What was repeated in all rows together.
pub fn sum(comparisons: &[Comparison]) -> Tally {
    let mut sum = Tally::default();
    comparisons.iter().filter_map(|comparison| comparison.tally).for_each(|tally| sum += tally);
    sum
}

#[cfg(test)]
mod tests {
    use super::super::row::{Level, row};
    use super::*;

    fn nothing(_: &Bed) -> Result<Outcome> {
        Ok(Outcome::Meets)
    }

    fn comparison(alone: &[Verdict], accelerated: Verdict) -> Comparison {
        static ROW: Row = row("U01", Level::Must, "RFC 4787 REQ-1").both(Case::new("", nothing));
        Comparison {
            row: &ROW,
            alone: alone.to_vec(),
            accelerated,
            liberal: None,
            tally: None,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn other_words_are_another_outcome() {
        let fails = |why: &str| Verdict::Fails(why.to_owned());
        assert_eq!(comparison(&[fails("late")], fails("late")).failure(), None);
        let other = comparison(&[fails("late")], fails("never"));
        let expected = "U01: with iptables alone: fails: late; with natbpf accelerate: fails: never";
        assert_eq!(other.failure().as_deref(), Some(expected));
        assert!(comparison(&[fails("late")], Verdict::Meets).differs());
        let sometimes = comparison(&[fails("late"), fails("never")], fails("never"));
        assert!(sometimes.varies() && sometimes.failure().is_none());
    }

    #[test]
    fn what_the_sysctl_does_is_said_and_differs_all_the_same() {
        let fails = |why: &str| Verdict::Fails(why.to_owned());
        let by = |liberal| Comparison { liberal, ..comparison(&[Verdict::Meets], fails("late")) };
        assert!(by(Some(fails("late"))).is_by_liberal());
        let failure = by(Some(fails("late"))).failure();
        assert!(
            failure.is_some_and(|why| why.contains("as with net.netfilter.nf_conntrack_tcp_be_liberal = 1"))
        );
        assert!(!by(Some(Verdict::Meets)).is_by_liberal() && !by(None).is_by_liberal());
    }

    #[test]
    fn a_test_that_breaks_shows_nothing() {
        let broken = || Verdict::Error("no tcpdump".to_owned());
        let failure = comparison(&[broken()], broken()).failure();
        assert_eq!(failure.as_deref(), Some("U01: the test broke: no tcpdump"));
    }

    #[test]
    fn rows_for_natbpf_alone_are_not_compared() {
        static ALONE: Row = row("O07", Level::Compat, "").natbpf(Case::new("", nothing));
        let comparison = compare(&ALONE);
        assert!(!comparison.differs() && !comparison.is_possible() && comparison.failure().is_none());
    }
}
