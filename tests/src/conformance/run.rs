//! Runs rows on worker threads, each with one bed at a time.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::bed::Bed;
use super::bridge::Bridge;
use super::row::{Case, Outcome, Row, Test};
use crate::gateway::nat::Kind;

/// What is known about one row and one translator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Meets,
    Partly(String),
    Fails(String),
    /// The test could not find out.
    Error(String),
    /// This kernel was built without what the row is about.
    Unavailable(String),
    /// Netfilter has nothing like it.
    NotApplicable,
    /// The row has no test, or this translator was not asked for.
    NotTested,
}

impl Verdict {
    /// In one word or two.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Meets => "meets",
            Self::Partly(_) => "partly",
            Self::Fails(_) => "fails",
            Self::Error(_) => "error",
            Self::Unavailable(_) => "not here",
            Self::NotApplicable => "n/a",
            Self::NotTested => "not tested",
        }
    }

    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Partly(why) | Self::Fails(why) | Self::Error(why) | Self::Unavailable(why) => Some(why),
            Self::Meets | Self::NotApplicable | Self::NotTested => None,
        }
    }

    /// Both.
    pub fn text(&self) -> String {
        self.reason().map_or_else(|| self.name().to_owned(), |why| format!("{}: {why}", self.name()))
    }

    fn is_wanting(&self) -> bool {
        matches!(self, Self::Partly(_) | Self::Fails(_))
    }
}

/// A row and what came out.
#[derive(Clone, Debug)]
pub struct Report {
    pub row: &'static Row,
    pub natbpf: Verdict,
    pub netfilter: Verdict,
    /// What the translators had to say to what they do not meet, if that was asked for.
    pub account: String,
    pub took: Duration,
}

impl Report {
    /// Why this row makes the command fail, if it does.
    pub fn failure(&self) -> Option<String> {
        let id = self.row.id;
        for (name, verdict) in [("natbpf", &self.natbpf), ("netfilter", &self.netfilter)] {
            if let Verdict::Error(why) = verdict {
                return Some(format!("{id}: the test broke with {name}: {why}"));
            }
        }
        let binds = match self.row.test {
            // What the bridge itself does not meet natbpf repeats; anything else is its own fault, whatever the level.
            Test::Bridge(_) => self.natbpf != self.netfilter,
            _ => self.row.level.binds() && self.row.decided.is_none(),
        };
        let why = || self.natbpf.reason().unwrap_or_default();
        (binds && self.natbpf.is_wanting())
            .then(|| format!("{id} ({}): natbpf {}: {}", self.row.level_text(), self.natbpf.name(), why()))
    }

    /// Whether there is a reason for what is not the case any more.
    pub fn decided_in_vain(&self) -> bool {
        self.row.decided.is_some() && self.natbpf == Verdict::Meets
    }
}

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub natbpf: bool,
    pub netfilter: bool,
    /// Whether a verdict that is not "meets" comes with what the translator has to say: status and flow table.
    pub verbose: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { natbpf: true, netfilter: true, verbose: false }
    }
}

/// Runs `rows` by `jobs` threads and returns the reports in the order of the rows. `done` is called with each as
/// it comes.
///
/// # Errors
/// After a Ctrl-C.
pub fn run(
    rows: &[&'static Row],
    options: Options,
    jobs: usize,
    done: impl Fn(&Report) + Sync,
) -> Result<Vec<Report>> {
    each(rows, jobs, |row| run_row(row, options), done)
}

/// Does `work` for each of `rows`, as [`run`].
///
/// # Errors
/// After a Ctrl-C.
pub fn each<T: Send>(
    rows: &[&'static Row],
    jobs: usize,
    work: impl Fn(&'static Row) -> T + Sync,
    done: impl Fn(&T) + Sync,
) -> Result<Vec<T>> {
    let queue: Mutex<VecDeque<(usize, &'static Row)>> =
        Mutex::new(rows.iter().copied().enumerate().collect());
    let all: Mutex<Vec<(usize, T)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while crate::process::interrupt::check().is_ok() {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((number, row)) = next else { break };
                    let one = work(row);
                    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    done(&one);
                    all.push((number, one));
                }
            });
        }
    });
    crate::process::interrupt::check()?;
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.sort_by_key(|(number, _)| *number);
    Ok(all.into_iter().map(|(_, one)| one).collect())
}

/// Runs one row on the calling thread.
pub fn run_row(row: &'static Row, options: Options) -> Report {
    let start = Instant::now();
    let mut account = String::new();
    let mut ask = |case, kind, wanted| match wanted {
        true => judge(
            case,
            || Bed::new(kind),
            |bed, outcome| {
                if options.verbose && !matches!(outcome, Ok(Outcome::Meets)) {
                    account.push_str(&account_of(bed));
                }
                Ok(())
            },
        ),
        false => Verdict::NotTested,
    };
    let (natbpf, netfilter) = match row.test {
        Test::Both(case) => {
            (ask(case, Kind::Natbpf, options.natbpf), ask(case, Kind::Iptables, options.netfilter))
        }
        Test::Natbpf(case) => (ask(case, Kind::Natbpf, options.natbpf), Verdict::NotApplicable),
        Test::Bridge(case) => {
            let mut ask = |accelerate, wanted| match wanted {
                true => judge(
                    case,
                    || Bridge::new(accelerate),
                    |bridge, outcome| {
                        if options.verbose && !matches!(outcome, Ok(Outcome::Meets)) {
                            account.push_str(&bridge.account());
                        }
                        bridge.still_runs()
                    },
                ),
                false => Verdict::NotTested,
            };
            (ask(true, options.natbpf), ask(false, options.netfilter))
        }
        Test::None(_) => (Verdict::NotTested, Verdict::NotTested),
    };
    Report { row, natbpf, netfilter, account, took: start.elapsed() }
}

/// Runs a test in a fresh bed. `look` sees the bed when the test is over, before all of it is taken away; where it
/// fails, nothing is known.
pub fn judge<B>(
    case: Case<B>,
    make: impl FnOnce() -> Result<B>,
    look: impl FnOnce(&B, &Result<Outcome>) -> Result<()>,
) -> Verdict {
    let test = || -> Result<Outcome> {
        let bed = make()?;
        let outcome = (case.run)(&bed);
        let looked = look(&bed, &outcome);
        outcome.and_then(|outcome| looked.map(|()| outcome))
    };
    match catch_unwind(AssertUnwindSafe(test)) {
        Ok(Ok(Outcome::Meets)) => Verdict::Meets,
        Ok(Ok(Outcome::Partly(what))) => Verdict::Partly(what),
        Ok(Ok(Outcome::Fails(why))) => Verdict::Fails(why),
        Ok(Ok(Outcome::Unavailable(why))) => Verdict::Unavailable(why),
        Ok(Err(error)) => Verdict::Error(format!("{error:#}")),
        Err(cause) => {
            let text = cause.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| cause.downcast_ref::<&str>().copied());
            Verdict::Error(format!("the test panicked: {}", text.unwrap_or("for no reason it could name")))
        }
    }
}

/// What the translator in the gateway has to say, also when the daemon of natbpf is gone already.
fn account_of(bed: &Bed) -> String {
    let said = || -> Result<String> {
        Ok(match bed.kind() {
            Kind::Natbpf => {
                let say = |args: &[&str]| bed.natbpf_cli()?.cmd().args(args).output_text();
                format!("{}\n{}", say(&["status"])?, say(&["flows", "list"])?)
            }
            _ => {
                let rules = bed.gw.cmd("iptables-save").args(["-t", "nat", "-c"]).output_text()?;
                format!("{rules}\n{}", bed.gw.cmd("conntrack").arg("-L").output_text()?)
            }
        })
    };
    format!("with {}:\n{}\n", bed.kind(), said().unwrap_or_else(|error| format!("{error:#}")))
}
