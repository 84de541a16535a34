//! A row of the table: one statement, its test, and what came out.

use std::fmt;

use anyhow::Result;

use super::bed::Bed;
use super::bridge::Bridge;

/// How binding a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Must,
    MustNot,
    Should,
    ShouldNot,
    May,
    /// Robustness; as binding as a MUST.
    Sec,
    /// What a drop-in for iptables MASQUERADE has to keep.
    Compat,
    Info,
}

impl Level {
    /// Whether the command fails when natbpf does otherwise and no reason is given.
    pub const fn binds(self) -> bool {
        matches!(self, Self::Must | Self::MustNot | Self::Sec | Self::Compat)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::May => "MAY",
            Self::Sec => "SEC",
            Self::Compat => "COMPAT",
            Self::Info => "INFO",
        })
    }
}

/// What a test found out about one translator. A test that could not find out returns an error instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Meets,
    /// The reason, as a reader of the table wants it: what was seen instead.
    Fails(String),
    /// What is met and what is not.
    Partly(String),
    /// Neither: this kernel was built without what the statement is about.
    Unavailable(String),
}

impl Outcome {
    /// Meets, or fails with `why`.
    pub fn meets_if(met: bool, why: impl FnOnce() -> String) -> Self {
        if met { Self::Meets } else { Self::Fails(why()) }
    }
}

/// Ends a test with [`Outcome::Fails`] unless the condition holds; the message says what was seen.
#[macro_export]
macro_rules! expect {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Ok($crate::conformance::row::Outcome::Fails(format!($($message)+)));
        }
    };
}

/// A test function and its name: [`test!`](crate::test) makes one. `B` is what it is run in.
pub struct Case<B: 'static = Bed> {
    path: &'static str,
    pub run: fn(&B) -> Result<Outcome>,
}

impl<B> Clone for Case<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Case<B> {}

impl<B> Case<B> {
    pub const fn new(path: &'static str, run: fn(&B) -> Result<Outcome>) -> Self {
        Self { path, run }
    }

    /// Section and function, such as `udp::mapping::one_port_for_every_destination`.
    pub fn name(&self) -> &'static str {
        self.path.split_once("::rows::").map_or(self.path, |(_, name)| name)
    }
}

impl<B> fmt::Debug for Case<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The [`Case`] of a function of the same module or, as `test!(mapping::one_port)`, of one below.
#[macro_export]
macro_rules! test {
    ($($segment:ident)::+) => {
        $crate::conformance::row::Case::new(
            concat!(module_path!(), $("::", stringify!($segment)),+),
            $($segment)::+,
        )
    };
}

/// How a row is tested.
#[derive(Clone, Copy, Debug)]
pub enum Test {
    /// With natbpf and with netfilter, each in a fresh bed.
    Both(Case),
    /// With natbpf only: netfilter has nothing like it.
    Natbpf(Case),
    /// On a Linux bridge alone, and on one with `natbpf accelerate` on its ports, each made anew.
    Bridge(Case<Bridge>),
    /// Not at all, for this reason.
    None(&'static str),
}

/// A statement and its test. Built by [`row`] and the methods here, which say all there is to say about it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub id: &'static str,
    pub level: Level,
    /// The level in full, where the word alone is not all; otherwise empty.
    pub remark: &'static str,
    pub reference: &'static str,
    pub statement: &'static str,
    pub test: Test,
    /// Why natbpf does otherwise on purpose.
    pub decided: Option<&'static str>,
    /// What a reader should know besides.
    pub note: Option<&'static str>,
}

pub const fn row(id: &'static str, level: Level, reference: &'static str) -> Row {
    let test = Test::None("not written yet");
    Row { id, level, remark: "", reference, statement: "", test, decided: None, note: None }
}

impl Row {
    pub const fn says(mut self, statement: &'static str) -> Self {
        self.statement = statement;
        self
    }

    /// The level in full, such as `MUST (CGN)`.
    pub const fn remark(mut self, remark: &'static str) -> Self {
        self.remark = remark;
        self
    }

    pub const fn both(mut self, case: Case) -> Self {
        self.test = Test::Both(case);
        self
    }

    pub const fn natbpf(mut self, case: Case) -> Self {
        self.test = Test::Natbpf(case);
        self
    }

    pub const fn bridge(mut self, case: Case<Bridge>) -> Self {
        self.test = Test::Bridge(case);
        self
    }

    pub const fn none(mut self, reason: &'static str) -> Self {
        self.test = Test::None(reason);
        self
    }

    /// natbpf does not meet this on purpose: why. The command does not fail then.
    pub const fn decided(mut self, reason: &'static str) -> Self {
        self.decided = Some(reason);
        self
    }

    pub const fn note(mut self, note: &'static str) -> Self {
        self.note = Some(note);
        self
    }

    /// The level as the list of statements has it.
    pub fn level_text(&self) -> String {
        if self.remark.is_empty() { self.level.to_string() } else { self.remark.to_owned() }
    }

    /// Section and function of the test, if there is one.
    pub fn test_name(&self) -> Option<&'static str> {
        match self.test {
            Test::Both(case) | Test::Natbpf(case) => Some(case.name()),
            Test::Bridge(case) => Some(case.name()),
            Test::None(_) => None,
        }
    }
}
