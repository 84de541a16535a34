//! From chains that call each other to one list, of which the first item that matches decides.

use std::collections::BTreeMap;

use super::{
    line::Line,
    matching::{Match, and, minus, overlap},
    ruleset::{Hook, Kind, Policy, Rule, Ruleset, Table},
    target::{Target, Verdict},
};

/// How deep chains may call each other; the kernel has 16.
const DEPTH: usize = 16;

/// Into how many pieces what a rule is for may fall. Beyond that it is not known what it is for.
const PIECES: usize = 64;

/// A rule that decides, with all that has to match on the way to it.
#[derive(Clone, Debug)]
pub struct Item {
    pub line: Line,
    /// Others that say the same for other protocols.
    pub joined: Vec<Line>,
    pub verdict: Verdict,
    /// What gets to it and matches it, whatever is not known.
    pub certain: Vec<Match>,
    /// What may match it. Whether it does depends on what natbpf does not know.
    pub maybe: Vec<Match>,
    /// The line before it on which that depends, if it is another.
    pub cause: Option<usize>,
}

/// Why lines were not imported, by their ids.
#[derive(Clone, Debug, Default)]
pub struct Skipped {
    pub lines: BTreeMap<usize, String>,
    /// What is missing of lines that were imported, or else to be said of them.
    pub parts: BTreeMap<usize, Vec<String>>,
    /// Why lines would do nothing where they were come by, which may be more than once.
    pub idle: BTreeMap<usize, String>,
}

impl Skipped {
    /// The first reason stands.
    pub fn add(&mut self, line: &Line, why: impl Into<String>) {
        self.lines.entry(line.id).or_insert_with(|| why.into());
    }

    pub fn part(&mut self, line: &Line, why: impl Into<String>) {
        let (why, parts) = (why.into(), self.parts.entry(line.id).or_default());
        if !parts.contains(&why) {
            parts.push(why);
        }
    }

    pub fn idle(&mut self, line: &Line, why: impl Into<String>) {
        self.idle.entry(line.id).or_insert_with(|| why.into());
    }
}

/// What was found on the way through the chains of a hook.
#[derive(Debug, Default)]
pub struct Walk {
    pub items: Vec<Item>,
    /// Ids of the lines that were come by.
    pub reached: Vec<usize>,
    /// What gets to the end of the base chain is accepted, and asked for no more.
    accepts: bool,
}

/// What gets to a place in a chain.
#[derive(Clone, Debug, Default)]
struct Reach {
    certain: Vec<Match>,
    maybe: Vec<Match>,
    /// The line by which something became uncertain.
    cause: Option<usize>,
}

impl Reach {
    fn matching(&self, pieces: &[Match]) -> Self {
        Self { certain: and(&self.certain, pieces), maybe: and(&self.maybe, pieces), cause: self.cause }
    }

    /// All of it depends on what is not known of a line.
    fn uncertain(&self, line: usize) -> Self {
        let maybe = [&self.certain[..], &self.maybe].concat();
        Self { certain: Vec::new(), maybe, cause: self.cause.or(Some(line)) }
    }

    /// What goes on when `pieces` have gone for sure, or may have, by a line.
    fn without(&self, pieces: &[Match], surely: bool, line: usize) -> Self {
        let certain = minus(&self.certain, pieces);
        let maybe = if surely {
            minus(&self.maybe, pieces)
        } else {
            [&self.maybe[..], &and(&self.certain, pieces)].concat()
        };
        if certain.len() + maybe.len() > PIECES {
            // An estimate from above; that nothing is certain makes it harmless.
            return self.uncertain(line);
        }
        let open = (!surely && certain != self.certain).then_some(line);
        Self { certain, maybe, cause: self.cause.or(open) }
    }

    fn is_empty(&self) -> bool {
        self.certain.is_empty() && self.maybe.is_empty()
    }
}

/// Follows the chains that the kernel calls at a hook, and all that they call.
pub fn walk(ruleset: &Ruleset, kind: Kind, hook: Hook, skipped: &mut Skipped) -> Walk {
    let mut walk = Walk::default();
    let bases = ruleset.bases(kind, hook);
    for (at, (table, name, base)) in bases.iter().enumerate() {
        let start = walk.items.len();
        let all = Reach { certain: vec![Match::default()], ..Reach::default() };
        walk.accepts = kind == Kind::Nat && at + 1 == bases.len();
        walk.chain(table, name, all, 0, skipped);
        if base.policy == Policy::Drop {
            let line = Line { text: format!("the policy of {name} is DROP"), ..base.line.clone() };
            walk.push(&line, Verdict::Drop, Reach { certain: vec![Match::default()], ..Reach::default() });
        }
        if at + 1 < bases.len() {
            walk.end_accepts(start);
        }
    }
    walk
}

impl Walk {
    fn chain(&mut self, table: &Table, name: &str, reach: Reach, depth: usize, skipped: &mut Skipped) {
        let Some(chain) = table.chains.get(name) else { return };
        let mut reach = reach;
        for rule in &chain.rules {
            self.reached.push(rule.line.id);
            reach = self.rule(table, rule, reach, depth, skipped);
        }
    }

    /// Returns what gets to the next rule of the chain.
    fn rule(
        &mut self,
        table: &Table,
        rule: &Rule,
        reach: Reach,
        depth: usize,
        skipped: &mut Skipped,
    ) -> Reach {
        let line = &rule.line;
        let known = rule.unknown.is_none();
        let here = reach.matching(&rule.pieces);
        let here = if known { here } else { here.uncertain(line.number) };
        if let Some(why) = &rule.unknown {
            skipped.add(line, why.clone());
        }
        if here.is_empty() {
            skipped.idle(line, "it matches nothing that gets there");
            return reach;
        }
        match &rule.target {
            Target::None => reach,
            Target::Pass(name) => {
                skipped.add(line, format!("{name} stays with iptables"));
                reach
            }
            // A RETURN of a base chain is what its policy says: ACCEPT.
            Target::Return if depth == 0 && self.accepts => {
                self.push(line, Verdict::Accept, here);
                reach
            }
            Target::Return => reach.without(&rule.pieces, known, line.number),
            Target::Do(verdict) => {
                self.push(line, verdict.clone(), here);
                reach
            }
            Target::Jump(name) if table.chains.contains_key(name) && depth < DEPTH => {
                self.chain(table, name, here.clone(), depth + 1, skipped);
                match rule.goto {
                    false => reach,
                    true if depth == 0 && self.accepts => {
                        self.push(line, Verdict::Accept, here);
                        reach
                    }
                    true => reach.without(&rule.pieces, known, line.number),
                }
            }
            Target::Jump(name) => {
                let name = super::line::printable(name);
                skipped.add(
                    line,
                    match table.chains.contains_key(&name) {
                        true => "its chains call each other in a circle".to_owned(),
                        false => format!("natbpf has no {name}"),
                    },
                );
                self.push(line, Verdict::Other(name), here.uncertain(line.number));
                reach
            }
        }
    }

    fn push(&mut self, line: &Line, verdict: Verdict, reach: Reach) {
        let Reach { certain, maybe, cause } = reach;
        let cause = cause.filter(|cause| *cause != line.number);
        self.items.push(Item { line: line.clone(), joined: Vec::new(), verdict, certain, maybe, cause });
    }

    /// An ACCEPT ends its own base chain only, and the next base chain is asked: what it takes is taken out of all that
    /// follows it from `start` on.
    fn end_accepts(&mut self, start: usize) {
        for at in start..self.items.len() {
            let item = self.items[at].clone();
            if item.verdict != Verdict::Accept {
                continue;
            }
            for later in &mut self.items[at + 1..] {
                let number = item.line.number;
                let (certain, maybe) = (later.certain.clone(), later.maybe.clone());
                let reach = Reach { certain, maybe, cause: later.cause };
                let reach = reach.without(&item.certain, true, number).without(&item.maybe, false, number);
                (later.certain, later.maybe, later.cause) = (reach.certain, reach.maybe, reach.cause);
            }
        }
        let mut index = 0;
        self.items.retain(|item| {
            index += 1;
            index <= start || item.verdict != Verdict::Accept
        });
    }
}

impl Item {
    /// All that it may be for.
    pub fn all(&self) -> Vec<Match> {
        [&self.certain[..], &self.maybe].concat()
    }

    /// All lines that say it.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.joined.iter().chain([&self.line])
    }

    pub fn may_take(&self, pieces: &[Match]) -> bool {
        overlap(&self.certain, pieces) || overlap(&self.maybe, pieces)
    }
}
