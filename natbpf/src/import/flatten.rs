//! From chains that call each other to one list, of which the first item that matches decides.

use std::{collections::BTreeMap, mem};

use super::{
    line::{Line, Lines, printable, push_new},
    matching::{Match, and, minus, overlap},
    ruleset::{Base, Hook, Kind, Policy, Rule, Ruleset, Table},
    target::{Target, Verdict},
};

/// How deep chains may call each other; the kernel has 16.
pub const DEPTH: usize = 16;

/// How many rules are come by, more than once where a chain is called from several places. Chains that each
/// call the next one twice are come by more often than anybody waits for.
const WAYS: usize = 5_000;

const TOO_MANY_WAYS: &str = "its table's chains call each other in so many ways that it is not followed; have fewer \
                             rules jump to the same chain";

/// Into how many pieces what a rule is for may fall. Beyond that it is not known what it is for.
const PIECES: usize = 256;

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
    /// That on which it depends, if it is not the line itself.
    pub cause: Option<Cause>,
    /// Whether it matches may depend on a condition on the destination that is not known.
    pub asks_destination: bool,
}

/// Why it is not certain what gets to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A line before it, of which something is not known.
    Line(usize),
    /// So many lines before it that it is not calculated.
    Many,
}

impl Cause {
    /// Why a line is left out.
    pub fn reason(self) -> String {
        match self {
            Self::Line(line) => asked_before(&Lines::new(&[line])),
            Self::Many => {
                "so many rules are asked before it that it is not calculated what they leave for it; join some of them"
                    .to_owned()
            }
        }
    }

    /// What is missing of a line.
    pub fn missing(self) -> String {
        match self {
            Self::Line(line) => without(&Lines::new(&[line])),
            Self::Many => "without all that the many rules before it may take".to_owned(),
        }
    }
}

/// Why a line is left out because of others.
pub fn asked_before(lines: &Lines) -> String {
    let are = lines.or("is", "are");
    format!("{lines} {are} asked before it and {are} not imported")
}

/// What is missing of a line because of others.
pub fn without(lines: &Lines) -> String {
    format!("without all that {lines} may take, which {} asked before it", lines.or("is", "are"))
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
        push_new(self.parts.entry(line.id).or_default(), why.into());
    }

    /// Leaves out all lines that say an item.
    pub fn add_all(&mut self, item: &Item, why: &str) {
        item.lines().for_each(|line| self.add(line, why));
    }

    pub fn part_all(&mut self, item: &Item, why: &str) {
        item.lines().for_each(|line| self.part(line, why));
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
    /// It is followed what becomes of packets that are not the first of their flow.
    established: bool,
    /// How many rules may still be come by.
    ways: usize,
    /// The chains that lead to where it is.
    path: Vec<String>,
}

/// What gets to a place in a chain.
#[derive(Clone, Debug, Default)]
struct Reach {
    certain: Vec<Match>,
    maybe: Vec<Match>,
    /// Why something became uncertain.
    cause: Option<Cause>,
    asks_destination: bool,
}

impl Reach {
    fn matching(&self, pieces: &[Match]) -> Self {
        Self { certain: and(&self.certain, pieces), maybe: and(&self.maybe, pieces), ..*self }
    }

    /// All of it depends on what is not known.
    fn uncertain(&self, cause: Cause, asks_destination: bool) -> Self {
        let maybe = [&self.certain[..], &self.maybe].concat();
        let asks_destination = self.asks_destination || asks_destination;
        Self { certain: Vec::new(), maybe, cause: self.cause.or(Some(cause)), asks_destination }
    }

    /// What goes on when `pieces` have gone for sure, or may have, by a line.
    fn without(&self, pieces: &[Match], surely: bool, line: usize, asks_destination: bool) -> Self {
        let certain = minus(&self.certain, pieces);
        let maybe = if surely {
            minus(&self.maybe, pieces)
        } else {
            [&self.maybe[..], &and(&self.certain, pieces)].concat()
        };
        if certain.len() + maybe.len() > PIECES {
            // An estimate from above; that nothing is certain makes it harmless.
            return self.uncertain(Cause::Many, true);
        }
        let open = (!surely && certain != self.certain).then_some(Cause::Line(line));
        let asks_destination = self.asks_destination || (asks_destination && open.is_some());
        Self { certain, maybe, cause: self.cause.or(open), asks_destination }
    }

    fn is_empty(&self) -> bool {
        self.certain.is_empty() && self.maybe.is_empty()
    }
}

/// Follows the chains that the kernel calls at a hook, and all that they call. Row M03.
pub fn walk(ruleset: &Ruleset, kind: Kind, hook: Hook, skipped: &mut Skipped) -> Walk {
    let mut walk = Walk::default();
    let bases = ruleset.bases(kind, hook);
    let mut starts = Vec::new();
    for (at, (table, name, base)) in bases.iter().enumerate() {
        let start = walk.items.len();
        let last = at + 1 == bases.len();
        walk.base(table, name, base, last, skipped);
        if !last {
            walk.end_accepts(start);
        }
        starts.push((base.priority, start));
    }
    walk.doubt_equals(&starts, skipped);
    walk
}

/// What a base chain does with packets that are the first of their flow, or with others.
pub fn items(table: &Table, name: &str, base: &Base, established: bool) -> Vec<Item> {
    let mut walk = Walk { established, ..Walk::default() };
    walk.base(table, name, base, true, &mut Skipped::default());
    walk.items
}

impl Walk {
    fn base(&mut self, table: &Table, name: &str, base: &Base, last: bool, skipped: &mut Skipped) {
        let all = Reach { certain: vec![Match::default()], ..Reach::default() };
        self.accepts = last && base.policy == Policy::Accept;
        self.ways = WAYS.max(4 * table.rules().count());
        self.chain(table, name, all.clone(), skipped);
        if base.policy == Policy::Drop {
            let line = Line { text: format!("the policy of {name} is DROP"), ..base.line.clone() };
            self.push(&line, Verdict::Drop, all);
        }
    }

    fn chain(&mut self, table: &Table, name: &str, mut reach: Reach, skipped: &mut Skipped) {
        let Some(chain) = table.chains.get(name) else { return };
        self.path.push(name.to_owned());
        for rule in &chain.rules {
            if self.ways == 0 {
                break;
            }
            self.ways -= 1;
            if self.ways == 0 {
                self.give_up(table, &rule.line, skipped);
                break;
            }
            self.reached.push(rule.line.id);
            reach = self.rule(table, rule, reach, skipped);
        }
        self.path.pop();
    }

    /// What the rules do that are asked from here on is not known, nor what they leave for others.
    fn give_up(&mut self, table: &Table, line: &Line, skipped: &mut Skipped) {
        for (_, rule) in table.rules() {
            skipped.add(&rule.line, TOO_MANY_WAYS);
            self.reached.push(rule.line.id);
        }
        let all = Reach { certain: vec![Match::default()], ..Reach::default() };
        self.push(line, Verdict::Other("rules in so many ways".to_owned()), all.uncertain(Cause::Many, true));
    }

    /// Returns what gets to the next rule of the chain.
    fn rule(&mut self, table: &Table, rule: &Rule, reach: Reach, skipped: &mut Skipped) -> Reach {
        let line = &rule.line;
        let known = rule.unknown.is_none();
        let pieces = &self.of_flow(&rule.pieces);
        let here = reach.matching(pieces);
        let here = if known { here } else { here.uncertain(Cause::Line(line.number), rule.asks_destination) };
        match (&rule.unknown, &rule.target) {
            // Options of a target that nobody knows were taken for matches.
            (Some(_), Target::Jump(name)) if !table.chains.contains_key(name) => {}
            (Some(why), _) => skipped.add(line, why.clone()),
            (None, _) => {}
        }
        if here.is_empty() {
            skipped.idle(line, "it matches nothing that gets there");
            return reach;
        }
        if rule.untracks {
            self.push(line, Verdict::Untracked, here.clone());
        }
        let mut returns = false;
        match &rule.target {
            Target::None => {}
            Target::Pass(name) => skipped.add(line, format!("{name} stays with iptables")),
            Target::Return => returns = true,
            Target::Do(verdict) => self.push(line, verdict.clone(), here.clone()),
            Target::Jump(name) => match self.not_followed(table, name) {
                None => {
                    self.chain(table, name, here.clone(), skipped);
                    returns = rule.goto;
                }
                Some(why) => {
                    skipped.add(line, why);
                    let here = here.uncertain(Cause::Line(line.number), true);
                    self.push(line, Verdict::Other(printable(name)), here);
                }
            },
        }
        if !returns {
            return reach;
        }
        // A RETURN of a base chain is what its policy says: ACCEPT.
        if self.path.len() == 1 && self.accepts {
            self.push(line, Verdict::Accept, here);
            return reach;
        }
        reach.without(pieces, known, line.number, rule.asks_destination)
    }

    /// Why it is not known what becomes of packets that jump to a chain, if it is not.
    fn not_followed(&self, table: &Table, name: &String) -> Option<String> {
        if !table.chains.contains_key(name) {
            return Some(format!("natbpf has no {}", printable(name)));
        }
        if self.path.contains(name) {
            return Some("its chains call each other in a circle".to_owned());
        }
        (self.path.len() > DEPTH).then(|| {
            format!("its chains call each other more than {DEPTH} deep, which natbpf does not follow")
        })
    }

    fn push(&mut self, line: &Line, verdict: Verdict, reach: Reach) {
        let Reach { certain, maybe, cause, asks_destination } = reach;
        let cause = cause.filter(|cause| *cause != Cause::Line(line.number));
        let (line, joined) = (line.clone(), Vec::new());
        self.items.push(Item { line, joined, verdict, certain, maybe, cause, asks_destination });
    }

    /// What of the pieces is for the packets that are followed.
    fn of_flow(&self, pieces: &[Match]) -> Vec<Match> {
        let of_flow = |piece: &&Match| piece.established.is_none_or(|is| is == self.established);
        let pieces = pieces.iter().filter(of_flow);
        pieces.map(|piece| Match { established: None, ..piece.clone() }).collect()
    }

    /// Base chains of the same priority are asked in the reverse order of their registration, which no listing shows.
    /// What they translate differently is certain in none of them. Each starts at an item.
    fn doubt_equals(&mut self, starts: &[(i64, usize)], skipped: &mut Skipped) {
        if starts.windows(2).all(|bases| bases[0].0 != bases[1].0) {
            return;
        }
        let asked = self.items.clone();
        let base = |at: usize| starts.iter().rev().find(|(_, start)| *start <= at).copied();
        let items = self.items.iter_mut().enumerate();
        for (at, item) in items.filter(|(_, item)| item.verdict != Verdict::Accept) {
            let Some((priority, start)) = base(at) else { continue };
            for (other, rival) in asked.iter().enumerate() {
                let equal = base(other).is_some_and(|base| base.0 == priority && base.1 != start);
                let differs = rival.verdict != Verdict::Accept && !rival.verdict.same(&item.verdict);
                if !equal || !differs {
                    continue;
                }
                let pieces = rival.all();
                let both = and(&item.certain, &pieces);
                if both.is_empty() && !overlap(&item.maybe, &pieces) {
                    continue;
                }
                let why = format!(
                    "line {} is in a chain of the same priority, and nothing says which of them is asked first; give \
                     them different priorities",
                    rival.line.number
                );
                skipped.add(&item.line, why);
                item.certain = minus(&item.certain, &pieces);
                item.maybe.extend(both);
            }
        }
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
                let (certain, maybe) = (mem::take(&mut later.certain), mem::take(&mut later.maybe));
                let reach =
                    Reach { certain, maybe, cause: later.cause, asks_destination: later.asks_destination };
                let reach = reach.without(&item.certain, true, number, false);
                let reach = reach.without(&item.maybe, false, number, item.asks_destination);
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
