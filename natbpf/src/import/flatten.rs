//! From chains that call each other to one list, of which the first item that matches decides.

use std::{collections::BTreeMap, net::Ipv4Addr};

use super::{
    matching::{Match, Unsayable},
    rule::Rule,
    save::{Line, Save},
    target::{DestinationNat, SourceNat, Target},
};

/// How deep chains may call each other; the kernel has 16.
const DEPTH: usize = 16;

/// Targets that the next rule is asked after.
const PASSING: &[&str] = &[
    "AUDIT",
    "CLASSIFY",
    "CONNMARK",
    "CONNSECMARK",
    "DSCP",
    "HMARK",
    "LED",
    "LOG",
    "MARK",
    "NFLOG",
    "RATEEST",
    "SECMARK",
    "SET",
    "TCPMSS",
    "TEE",
    "TOS",
    "TRACE",
    "ULOG",
];

/// A rule with all that had to match on the way to it.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    pub line: &'a Line<'a>,
    /// Others that say the same for other protocols.
    pub joined: Vec<&'a Line<'a>>,
    /// It is for what one of these matches.
    pub pieces: Vec<Match>,
    pub verdict: Verdict,
    /// Whether natbpf can say it. If not, it is for what one of the pieces matches, or for a part of that.
    pub known: bool,
    /// Where a RETURN goes on.
    pub resume: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Source(SourceNat),
    Destination(DestinationNat),
    /// No translation, and nothing later is asked.
    Accept,
    Return,
    /// Something that natbpf has not, after which nothing later is asked.
    Other,
    /// Nothing, or nothing any more.
    Nothing,
}

/// Why lines were not imported, by their numbers.
#[derive(Clone, Debug, Default)]
pub struct Skipped {
    pub lines: BTreeMap<usize, String>,
    /// What is missing of lines that were imported.
    pub parts: BTreeMap<usize, String>,
    /// Why lines would do nothing where they were come by, which may be more than once.
    pub idle: BTreeMap<usize, String>,
}

impl Skipped {
    /// The first reason stands.
    pub fn add(&mut self, line: &Line<'_>, why: impl Into<String>) {
        self.lines.entry(line.number).or_insert_with(|| why.into());
    }
}

/// What was found on the way through the chains.
#[derive(Debug, Default)]
pub struct Walk<'a> {
    pub items: Vec<Item<'a>>,
    /// Lines that were come by.
    pub reached: Vec<usize>,
    pub hairpin: Hairpin,
}

/// Source translations of what a destination translation sends back inside.
#[derive(Clone, Debug, Default)]
pub struct Hairpin {
    /// Of all that is redirected.
    pub everywhere: bool,
    /// Of what is redirected to one of these hosts, which sent it itself.
    pub hosts: Vec<Ipv4Addr>,
}

impl Hairpin {
    /// Whether this host is reached by its external address from inside.
    pub fn reaches(&self, host: Ipv4Addr) -> bool {
        self.everywhere || self.hosts.contains(&host)
    }
}

/// Follows a chain of the kernel and all that it calls.
pub fn walk<'a>(save: &'a Save<'a>, base: &str, skipped: &mut Skipped) -> Walk<'a> {
    let mut walk = Walk::default();
    walk.chain(save, base, &Match::default(), 0, skipped);
    let end = walk.items.len();
    for item in &mut walk.items {
        // A RETURN of a base chain is what its policy says: ACCEPT.
        match item.verdict {
            Verdict::Return
                if item.known && item.resume == end && item.pieces.iter().all(is_for_every_protocol) =>
            {
                item.verdict = Verdict::Accept;
            }
            _ => {}
        }
    }
    walk
}

fn is_for_every_protocol(piece: &Match) -> bool {
    piece.protocol.is_none()
}

impl<'a> Walk<'a> {
    fn chain(
        &mut self,
        save: &'a Save<'a>,
        name: &str,
        context: &Match,
        depth: usize,
        skipped: &mut Skipped,
    ) {
        let Some(lines) = save.chains.get(name) else { return };
        let start = self.items.len();
        for line in lines {
            self.reached.push(line.number);
            let rule = Rule::parse(&line.words);
            match context.and(&rule.matching) {
                Ok(Some(matching)) => self.rule(save, line, rule, matching, depth, skipped),
                Ok(None) => {
                    let why = "it matches nothing that gets there";
                    skipped.idle.entry(line.number).or_insert_with(|| why.to_owned());
                }
                Err(Unsayable) => {
                    skipped.add(line, "natbpf's rules have one interface, or all but one");
                    self.push(line, context.clone(), Verdict::Other, false);
                }
            }
        }
        let end = self.items.len();
        for item in self.items[start..].iter_mut().filter(|item| item.resume == usize::MAX) {
            item.resume = end;
        }
    }

    fn rule(
        &mut self,
        save: &'a Save<'a>,
        line: &'a Line<'a>,
        rule: Rule,
        matching: Match,
        depth: usize,
        skipped: &mut Skipped,
    ) {
        let passes = matches!(&rule.target, Target::Jump(target) if PASSING.contains(&&**target));
        match (rule.redirected, &rule.target) {
            // What natbpf does where hairpin is on.
            (Some(true), Target::Source(_)) => {
                self.hairpin.everywhere = true;
                return;
            }
            (Some(true), _) => return skipped.add(line, "natbpf has no rules for redirected packets alone"),
            // So all others are meant, and only such are natbpf's rules for.
            (Some(false) | None, _) => {}
        }
        if let Some(host) = own_service(&rule, &matching) {
            self.hairpin.hosts.push(host);
            return;
        }
        let known = rule.unknown.is_none();
        if let Some(what) = &rule.unknown {
            skipped.add(line, format!("natbpf does not know {what}"));
        }
        match rule.target {
            Target::None => {}
            Target::Accept => self.push(line, matching, Verdict::Accept, known),
            Target::Return => self.push(line, matching, Verdict::Return, known),
            Target::Source(nat) => self.push(line, matching, Verdict::Source(nat), known),
            Target::Destination(nat) => self.push(line, matching, Verdict::Destination(nat), known),
            Target::Jump(target) if known && save.chains.contains_key(&*target) && depth < DEPTH => {
                self.chain(save, &target, &matching, depth + 1, skipped);
            }
            Target::Jump(target) => {
                let why = match () {
                    () if save.chains.contains_key(&*target) => {
                        "its chains call each other in a circle".to_owned()
                    }
                    () if passes => format!("{target} stays with iptables"),
                    () => format!("natbpf has no {target}"),
                };
                skipped.add(line, why);
                if !passes {
                    self.push(line, matching, Verdict::Other, false);
                }
            }
        }
    }

    fn push(&mut self, line: &'a Line<'a>, matching: Match, verdict: Verdict, known: bool) {
        let pieces = vec![matching];
        self.items.push(Item { line, joined: Vec::new(), pieces, verdict, known, resume: usize::MAX });
    }
}

/// Docker's rule for a container that reaches its own published port, which natbpf's hairpin does.
fn own_service(rule: &Rule, matching: &Match) -> Option<Ipv4Addr> {
    let is_it =
        matches!(rule.target, Target::Source(SourceNat { to: None, .. })) && matching.protocol.is_some();
    let (from, to) = (matching.source.single(), matching.destination.single());
    from.filter(|_| is_it && from == to)
}

impl Item<'_> {
    pub fn overlaps(&self, other: &Item<'_>) -> bool {
        self.pieces.iter().any(|piece| other.pieces.iter().any(|other| piece.overlaps(other)))
    }

    /// What it is for that the other is not for.
    pub fn without(&self, other: &Item<'_>) -> Result<Vec<Match>, Unsayable> {
        let mut left = self.pieces.clone();
        for taken in &other.pieces {
            let parts: Result<Vec<_>, _> = left.iter().map(|piece| piece.minus(taken)).collect();
            left = parts?.concat();
        }
        Ok(left)
    }
}

/// Does away with RETURNs: what follows in their chain is not for what they match. Where nothing after the chain
/// would translate that, it is left alone for good.
pub fn resolve_returns(items: &mut [Item<'_>], skipped: &mut Skipped) {
    for at in 0..items.len() {
        if items[at].verdict != Verdict::Return || !items[at].known {
            continue;
        }
        let (returned, resume) = (items[at].clone(), items[at].resume.min(items.len()));
        let idle = |item: &Item<'_>| {
            matches!(item.verdict, Verdict::Accept | Verdict::Return | Verdict::Nothing)
                || !item.overlaps(&returned)
        };
        if returned.pieces.iter().all(is_for_every_protocol) && items[resume..].iter().all(idle) {
            items[at].verdict = Verdict::Accept;
            continue;
        }
        items[at].verdict = Verdict::Nothing;
        for item in &mut items[at + 1..resume] {
            match item.without(&returned) {
                Ok(left) if left.is_empty() => {
                    let why = format!("line {} takes all of it out", returned.line.number);
                    skipped.idle.entry(item.line.number).or_insert(why);
                    item.verdict = Verdict::Nothing;
                }
                Ok(left) => item.pieces = left,
                Err(Unsayable) => {
                    skipped.add(item.line, taken_out(returned.line));
                    item.known = false;
                }
            }
        }
    }
}

/// Why a rule cannot be imported of which `line` takes a part.
pub fn taken_out(line: &Line<'_>) -> String {
    format!("natbpf cannot leave out of it what line {}, which is asked before it, takes", line.number)
}
