//! Rules of other tables. Netfilter translates between them, natbpf outside of them all: those that were asked about
//! external addresses are asked about inside ones, and conntrack has translated nothing.

use std::fmt;

use super::{
    difference::{Dropped, How, Side, dropped},
    flatten::{Item, items},
    inward::Inward,
    line::{Line, push_new},
    matching::{Addresses, Match, Pattern, Ports, minus, overlap},
    ruleset::{Hook, Kind, Ruleset},
    target::Verdict,
    written::Written,
};

/// Where netfilter translates destinations, and answers to what it has masqueraded.
const BEFORE_ROUTING: i64 = -100;
/// Where it translates sources.
const AFTER_ROUTING: i64 = 100;
/// Where packets begin to be tracked.
const TRACKING: i64 = -200;

const INSIDE_ADDRESSES: &str = "natbpf translates outside of it, so it sees inside addresses where it saw external \
                                ones; have it spare them";

/// What is to be said of chains at ingress and egress.
pub const AROUND: &str = "its chains at ingress are asked after natbpf and those at egress before it, so both see inside \
                          addresses where they saw external ones; look for what they drop by address";

/// Base chains of other tables.
#[derive(Debug)]
pub struct Filters {
    chains: Vec<Filter>,
    /// Rules by which packets are not tracked.
    untracked: Vec<Item>,
}

#[derive(Debug)]
struct Filter {
    hook: Hook,
    priority: i64,
    /// What it does with first packets of flows, and with later ones.
    first: Vec<Item>,
    later: Vec<Item>,
}

impl Filters {
    pub fn new(ruleset: &Ruleset) -> Self {
        let (mut chains, mut untracked) = (Vec::new(), Vec::new());
        for hook in [Hook::Prerouting, Hook::Forward, Hook::Postrouting] {
            for (table, name, base) in ruleset.bases(Kind::Filter, hook) {
                let [first, later] = [false, true].map(|established| items(table, name, base, established));
                if hook == Hook::Prerouting && base.priority <= TRACKING {
                    untracked.extend(not_tracked(&first));
                }
                chains.push(Filter { hook, priority: base.priority, first, later });
            }
        }
        Self { chains, untracked }
    }

    /// Rules that keep packets from being tracked, and so from being translated.
    pub fn untracked(&self) -> &[Item] {
        &self.untracked
    }

    /// Why a forward would let something in that the rules keep out.
    pub fn opens(&self, inward: &Inward) -> Result<(), String> {
        let untracked =
            |packet: Match| self.untracked.iter().find(|item| item.may_take(std::slice::from_ref(&packet)));
        if let Some(item) = untracked(inward.arriving()) {
            let line = item.line.number;
            return Err(format!(
                "line {line} keeps it from being tracked, and netfilter translates nothing untracked"
            ));
        }
        if let Some(item) = untracked(inward.answer()) {
            let line = item.line.number;
            return Err(format!(
                "line {line} keeps the answers from being tracked, so netfilter does not translate them"
            ));
        }
        let after = inward.translated(false);
        for filter in &self.chains {
            let opened = |before: Match| dropped(&filter.first, &before, &after, Side::Destination);
            let Some(Dropped { item, .. }) = filter.before(inward).into_iter().flat_map(opened).next() else {
                continue;
            };
            return Err(format!(
                "line {} drops some of it in {}, by what natbpf has changed before or never sets, and natbpf would open it; add \
                 the same for {} beside that line, and import again",
                item.line.number,
                filter.name(),
                inward.to()
            ));
        }
        Ok(())
    }

    /// A remark for each line that drops something that natbpf translates.
    pub fn remarks(&self, written: &[Written], inwards: &[Inward]) -> Vec<String> {
        let mut remarks: Vec<String> = Vec::new();
        for filter in &self.chains {
            let of_forwards = inwards.iter().flat_map(|inward| filter.remarks_on_forward(inward));
            let masquerading = written.iter().filter(|rule| rule.nat.is_some());
            let of_rules = masquerading.flat_map(|rule| filter.remarks_on_rule(rule));
            of_forwards.chain(of_rules).for_each(|remark| push_new(&mut remarks, remark));
        }
        remarks
    }
}

/// What of the packets that get there is not tracked.
fn not_tracked(items: &[Item]) -> Vec<Item> {
    let mut gone = Vec::new();
    let mut untracked = Vec::new();
    for item in items {
        if item.verdict == Verdict::Untracked {
            let maybe = minus(&item.all(), &gone);
            untracked.push(Item { certain: Vec::new(), maybe, ..item.clone() });
        } else {
            gone.extend(item.certain.iter().cloned());
        }
    }
    untracked
}

impl Filter {
    fn name(&self) -> &'static str {
        match self.hook {
            Hook::Prerouting => "PREROUTING",
            Hook::Forward => "FORWARD",
            _ => "POSTROUTING",
        }
    }

    /// What a forwarded packet is for it with netfilter; at the priority of the translation it may be either.
    fn before(&self, inward: &Inward) -> Vec<Match> {
        match (self.hook, self.priority) {
            (Hook::Prerouting, priority) if priority < BEFORE_ROUTING => vec![inward.arriving()],
            (Hook::Prerouting, BEFORE_ROUTING) => vec![inward.arriving(), inward.translated(true)],
            _ => vec![inward.translated(true)],
        }
    }

    /// What it drops of a forward: whatever its source, or since it is natbpf that translates.
    fn remarks_on_forward(&self, inward: &Inward) -> Vec<String> {
        let (with_natbpf, forward) = (inward.translated(false), inward.line.number);
        let mut said: Vec<(&Line, String)> = Vec::new();
        for (item, how, unless) in drops(&self.first, &with_natbpf) {
            said.push((&item.line, format!("{how}what line {forward} sends to {}{unless}", inward.host())));
        }
        for before in self.before(inward) {
            for Dropped { item, how } in dropped(&self.first, &with_natbpf, &before, Side::Destination) {
                if said.iter().all(|(line, _)| line.id != item.line.id) {
                    said.push((&item.line, format!("{how}what line {forward} sends to {}", inward.host())));
                }
            }
        }
        let why =
            "natbpf translates before it, so it sees that address, and conntrack's state DNAT is never set";
        let mut remarks: Vec<_> = said.iter().map(|(line, what)| self.remark(line, what, why)).collect();
        if self.hook == Hook::Postrouting && self.priority >= AFTER_ROUTING {
            let answer = inward.answer();
            let (source, source_ports) = (Addresses::default(), Ports::default());
            let before = Match { source, source_ports, from_host: None, ..answer.clone() };
            for Dropped { item, how } in dropped(&self.later, &answer, &before, Side::Source) {
                let what = format!("{how}the answers of {} to what line {forward} sends", inward.host());
                remarks.push(self.remark(&item.line, &what, INSIDE_ADDRESSES));
            }
        }
        remarks
    }

    fn remark(&self, line: &Line, what: &str, why: &str) -> String {
        format!("line {} drops in {} {what}: {why}\n    {}", line.number, self.name(), line.text)
    }

    /// What a rule masquerades, where it leaves, and its answers, where they come in.
    fn remarks_on_rule(&self, rule: &Written) -> Vec<String> {
        let piece = &rule.piece;
        let (drops, what) = match self.hook {
            Hook::Prerouting if self.priority <= BEFORE_ROUTING => {
                let answer = Match {
                    input: piece.output.clone(),
                    source: piece.destination.clone(),
                    redirected: Some(false),
                    ..Match::default()
                };
                let before = Match { to_host: Some(true), ..answer.clone() };
                let inside = Match {
                    destination: piece.source.clone(),
                    to_host: Some(false),
                    from_host: Some(false),
                    ..answer
                };
                (dropped(&self.later, &inside, &before, Side::DestinationAddress), "the answers to ")
            }
            Hook::Postrouting if self.priority >= AFTER_ROUTING => {
                let left = Match { to_host: Some(false), ..piece.clone() };
                let before = Match { source: Addresses::default(), ..left.clone() };
                let inside = Match { from_host: Some(false), ..left };
                (dropped(&self.first, &inside, &before, Side::SourceAddress), "")
            }
            _ => return Vec::new(),
        };
        let remark = |Dropped { item, how }: Dropped<'_>| {
            let what = format!("{how}{what}what line {} masquerades", rule.line.number);
            self.remark(&item.line, &what, INSIDE_ADDRESSES)
        };
        drops.into_iter().map(remark).collect()
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "",
            Self::Part => "some of ",
            Self::Perhaps => "perhaps ",
        })
    }
}

/// What drops it whatever its source: the first item that perhaps does, and the first that does for sure, with what is
/// spared.
fn drops<'a>(items: &'a [Item], packet: &Match) -> Vec<(&'a Item, How, String)> {
    let mut drops = Vec::new();
    let mut left = vec![packet.clone()];
    let mut doubtful = false;
    for item in items.iter().filter(|item| item.verdict != Verdict::Untracked) {
        if item.verdict == Verdict::Drop {
            // What is kept out by its source was meant to be kept out.
            let meant = |piece: &&Match| piece.source.within.prefix_len() == 0;
            let certain: Vec<_> = item.certain.iter().filter(meant).cloned().collect();
            if overlap(&left, &certain) {
                let whole = minus(&left, &certain).is_empty();
                let (how, unless) = match unless(&left, packet) {
                    _ if doubtful => (How::Perhaps, String::new()),
                    Some(unless) if whole => (How::All, unless),
                    _ => (How::Part, String::new()),
                };
                drops.push((item, how, unless));
                break;
            }
            let maybe: Vec<_> = item.maybe.iter().filter(meant).cloned().collect();
            if drops.is_empty() && overlap(&left, &maybe) {
                drops.push((item, How::Perhaps, String::new()));
            }
        } else {
            doubtful |= overlap(&left, &item.maybe);
        }
        left = minus(&left, &item.certain);
    }
    drops
}

/// What has been spared of a packet, if that is all that leaves by some interfaces.
fn unless(left: &[Match], packet: &Match) -> Option<String> {
    let [left] = left else { return None };
    let same = Match { output: packet.output.clone(), ..left.clone() } == *packet;
    let not: Vec<_> = left.output.not.iter().map(Pattern::to_string).collect();
    let unless =
        if not.is_empty() { String::new() } else { format!(" unless it leaves by {}", not.join(", ")) };
    (same && left.output.is == packet.output.is).then_some(unless)
}
