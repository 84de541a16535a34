//! From POSTROUTING to `[[masquerade]]`.
//!
//! First every item is reduced to what natbpf's rules look at. What is more than that makes the item uncertain: it may
//! match, and later rules have no say there. Then each item is written for the uplinks, and for them alone.

use std::collections::BTreeSet;

use super::{
    flatten::{Item, Skipped, asked_before, without},
    limits::{self, Refused},
    line::{Lines, printable},
    matching::{Devices, Match, Pattern, Protocols, TCP, UDP, and, minus, overlap},
    target::{SourceNat, Verdict},
    uplinks::Uplinks,
    written::Written,
};
use crate::config::Interfaces;

/// Into how many tables of the configuration one rule may fall. More are none that anybody would read.
const PIECES: usize = 32;

/// Reduces what the items match to what natbpf's rules can say.
pub fn reduce(items: &mut [Item], refused: &Refused, skipped: &mut Skipped) {
    join_protocols(items);
    for item in items.iter_mut() {
        let mut why = None;
        let (mut certain, mut maybe) = (Vec::new(), Vec::new());
        for piece in &item.certain {
            if piece.from_host == Some(false) && matches!(item.verdict, Verdict::Source(_)) {
                let why =
                    "what the gateway sends from an address that is not the uplink's is translated, too";
                skipped.part(&item.line, why);
            }
            let Some(piece) = at_uplink(piece) else { continue };
            match refused.get(&item.line.id).cloned().or_else(|| unsayable(item, &piece)) {
                None => certain.push(piece),
                Some(reason) => {
                    why.get_or_insert(reason);
                    // What a host sends to itself leaves by no uplink, and takes nothing from later rules.
                    if !is_to_itself(&piece) {
                        maybe.push(strip(&piece));
                    }
                }
            }
        }
        maybe.extend(item.maybe.iter().filter_map(at_uplink).map(|piece| strip(&piece)));
        let translates = item.verdict != Verdict::Accept;
        if certain.is_empty() && maybe.is_empty() && translates {
            let why = "it is for what the gateway itself sends or redirects, which natbpf does not translate";
            skipped.idle(&item.line, why);
        }
        let cause = item.cause.filter(|_| translates).map(|cause| (cause.reason(), cause.missing()));
        for (reason, missing) in cause.into_iter().chain(why.map(|why| (why.clone(), why))) {
            match certain.is_empty() {
                true => skipped.add_all(item, &reason),
                // Part of the line may be said all the same.
                false => skipped.part_all(item, &missing),
            }
        }
        (item.certain, item.maybe) = (certain, maybe);
    }
}

/// What of it leaves by an uplink from behind the gateway; `None` if nothing does.
fn at_uplink(piece: &Match) -> Option<Match> {
    let impossible = piece.to_host == Some(true) || piece.from_host == Some(true);
    // What was not redirected is meant by every rule of natbpf.
    let redirected = piece.redirected.filter(|redirected| *redirected);
    (!impossible).then(|| Match { to_host: None, from_host: None, redirected, ..piece.clone() })
}

/// Why natbpf has no rule like this.
fn unsayable(item: &Item, piece: &Match) -> Option<String> {
    let nat = match &item.verdict {
        Verdict::Source(nat) => Some(nat),
        Verdict::Accept | Verdict::Untracked => None,
        Verdict::Destination(_) => return Some("DNAT belongs into PREROUTING".to_owned()),
        Verdict::Drop => return Some("natbpf drops nothing in POSTROUTING".to_owned()),
        Verdict::Other(name) => return Some(format!("natbpf has no {name}")),
    };
    if let Some(why) = nat.and_then(limits::pool) {
        return Some(why);
    }
    let has_ports = nat.is_some_and(|nat| nat.ports.is_some()) && item.joined.is_empty();
    let why = match () {
        () if has_ports && piece.protocol.is.is_some() => {
            "ports for one protocol alone; natbpf's rules are for all protocols at once"
        }
        () if has_ports => "ports want -p tcp or -p udp",
        () if piece.redirected == Some(true) => "natbpf has no rules for redirected packets alone",
        () if is_to_itself(piece) => {
            "it is for a host that reaches itself by its published port, see `hairpin`"
        }
        () if let Some(why) = odd_name(&piece.output) => return Some(why),
        () if !piece.input.is_any() => "natbpf's rules do not look at where a packet came in (-i)",
        () if !piece.source_ports.is_all() => "natbpf's rules do not look at the source port",
        () if !piece.protocol.is_any() || !piece.ports.is_all() => {
            "natbpf's rules are for all protocols at once"
        }
        () => return None,
    };
    Some(why.to_owned())
}

fn is_to_itself(piece: &Match) -> bool {
    piece.source.single().is_some() && piece.source == piece.destination
}

/// Why a name cannot be written. iptables and nftables take nearly everything.
pub fn odd_name(devices: &Devices) -> Option<String> {
    let mut patterns = devices.is.iter().chain(&devices.not);
    patterns.find_map(|pattern| {
        let name = printable(&pattern.name);
        let Ok(read) = pattern.to_string().parse::<Interfaces>() else {
            return Some(format!("{name} cannot be the name of an interface"));
        };
        // Each program has its own signs for patterns.
        let same = !pattern.name.starts_with('!') && read.name().is_some() != pattern.wildcard;
        let why =
            || format!("natbpf would take {name} for a pattern, and an interface of that name is meant");
        (!same).then(why)
    })
}

/// What natbpf can see of it: at least as much.
fn strip(piece: &Match) -> Match {
    let Match { output, source, destination, .. } = piece.clone();
    Match { output, source, destination, ..Match::default() }
}

/// What has been taken from all later rules, and by which line.
struct Taken {
    pieces: Vec<Match>,
    /// The verdict that it may have got; `None`: not known.
    verdict: Option<Verdict>,
    /// The number of the line.
    line: usize,
    /// By that line it is not tracked.
    untracked: bool,
    /// Another line has taken it from this one.
    lost: bool,
}

impl Taken {
    fn by(item: &Item, pieces: Vec<Match>) -> Self {
        Self { pieces, verdict: None, line: item.line.number, untracked: false, lost: false }
    }
}

/// The lines that have taken something of a rule, and those by which it is not tracked.
#[derive(Default)]
struct Causes {
    lines: BTreeSet<usize>,
    untracked: BTreeSet<usize>,
}

impl Causes {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.untracked.is_empty()
    }

    /// Why nothing is left for a rule.
    fn reason(&self) -> String {
        self.both(asked_before, |lines| {
            let keeps = lines.or("keeps", "keep");
            format!("{lines} {keeps} it from being tracked, and netfilter translates nothing untracked")
        })
    }

    /// What is missing of a rule.
    fn missing(&self) -> String {
        self.both(without, |lines| {
            format!(
                "without all that {lines} may keep from being tracked, which netfilter does not translate"
            )
        })
    }

    fn both(&self, lines: fn(&Lines) -> String, untracked: fn(&Lines) -> String) -> String {
        let both = [(&self.lines, lines), (&self.untracked, untracked)].into_iter();
        let said = both.filter(|(numbers, _)| !numbers.is_empty());
        said.map(|(numbers, say)| say(&Lines::new(numbers))).collect::<Vec<_>>().join("; ")
    }
}

/// The rules for all that can be said, in their order.
pub fn rules(items: &[Item], to: &Uplinks, untracked: &[Item], skipped: &mut Skipped) -> Vec<Written> {
    let uplinks = &to.patterns[..];
    let everywhere: Vec<_> =
        uplinks.iter().cloned().map(|uplink| Match::output(Devices::is(uplink))).collect();
    let mut taken: Vec<Taken> = untracked.iter().map(|item| not_tracked(item, uplinks)).collect();
    let mut written: Vec<Written> = Vec::new();
    for item in items {
        if !item.maybe.is_empty() {
            let verdict = Some(item.verdict.clone());
            taken.push(Taken { verdict, ..Taken::by(item, item.maybe.clone()) });
        }
        let here = and(&item.certain, &everywhere);
        match &item.verdict {
            Verdict::Source(nat) if !item.certain.is_empty() => {
                if here.is_empty() {
                    skipped.add_all(item, &no_uplink(item, to));
                } else if let Some(pieces) = source(item, here, &mut taken, skipped) {
                    say_parts(item, nat, uplinks, skipped);
                    written.extend(pieces.into_iter().map(|piece| Written::new(item, Some(nat), piece)));
                } else {
                    taken.push(Taken { lost: true, ..Taken::by(item, item.certain.clone()) });
                }
            }
            Verdict::Accept => {
                let (said, unsaid): (Vec<_>, Vec<_>) =
                    here.into_iter().partition(|piece| piece.output.not.is_empty());
                taken.push(Taken::by(item, unsaid));
                written.extend(said.into_iter().map(|piece| Written::new(item, None, piece)));
            }
            _ => {}
        }
    }
    without_idle(written)
}

fn no_uplink(item: &Item, uplinks: &Uplinks) -> String {
    let leaves_by = |name: &&String| item.certain.iter().any(|piece| piece.output.includes(name));
    if let Some(name) = uplinks.too_many.iter().find(leaves_by) {
        return limits::too_many(name);
    }
    let named = item.certain.iter().any(|piece| piece.output.is.is_some());
    let why = match named || !uplinks.patterns.is_empty() {
        true => "it is for interfaces that are no uplinks here; name those that are with --uplink",
        false => {
            "it names no interface with -o, and natbpf would take every one for an uplink; name yours with --uplink"
        }
    };
    why.to_owned()
}

/// What a rule keeps from being tracked where it comes in, of what leaves by the uplinks.
fn not_tracked(item: &Item, uplinks: &[Pattern]) -> Taken {
    let is_uplink = |is: &&Pattern| uplinks.iter().any(|uplink| uplink.covers(is));
    let leaving = |piece: Match| {
        let mut leaving = strip(&piece);
        // What comes in by an uplink leaves by no other way than another one: there it is mostly for answers,
        // and for the host.
        leaving.output.not.extend(piece.input.is.as_ref().filter(is_uplink).cloned());
        leaving
    };
    let pieces = item.all().iter().filter_map(at_uplink).map(leaving).collect();
    Taken { untracked: true, ..Taken::by(item, pieces) }
}

/// What of a source translation can be written; `None` if it is left out.
fn source(
    item: &Item,
    here: Vec<Match>,
    taken: &mut Vec<Taken>,
    skipped: &mut Skipped,
) -> Option<Vec<Match>> {
    let mut left = here.clone();
    let mut causes = Causes::default();
    let differs = |taken: &&Taken| taken.verdict.as_ref().is_none_or(|other| !other.same(&item.verdict));
    for taken in taken.iter().filter(differs) {
        let takes = overlap(&left, &taken.pieces);
        // Also what would take it if those before it did not. Where a line has lost it, the one it was lost
        // by is named.
        if takes || (!taken.lost && overlap(&here, &taken.pieces)) {
            let numbers = if taken.untracked { &mut causes.untracked } else { &mut causes.lines };
            numbers.insert(taken.line);
        }
        if takes {
            left = minus(&left, &taken.pieces);
        }
    }
    let some_of_pattern = left.iter().any(|piece| !piece.output.not.is_empty());
    if some_of_pattern || left.len() > PIECES {
        let why = match some_of_pattern {
            true => "natbpf has no rule for all interfaces of a pattern but some".to_owned(),
            false => {
                format!("it would be more than {PIECES} rules of natbpf; join some of the networks before it")
            }
        };
        let first = if causes.is_empty() { String::new() } else { format!("; {}", causes.reason()) };
        skipped.add_all(item, &format!("{why}{first}"));
        return None;
    }
    if causes.is_empty() {
        return Some(left);
    }
    if left.is_empty() {
        skipped.add_all(item, &causes.reason());
        return None;
    }
    skipped.part_all(item, &causes.missing());
    // What is lost here is not for a later rule either.
    taken.push(Taken { lost: true, ..Taken::by(item, minus(&here, &left)) });
    Some(left)
}

/// What is to be said of a rule that is imported.
fn say_parts(item: &Item, nat: &SourceNat, uplinks: &[Pattern], skipped: &mut Skipped) {
    let leaves_by = |uplink: &&Pattern| {
        let there = Devices::is((*uplink).clone());
        item.certain.iter().any(|piece| piece.output.and(&there).is_some())
    };
    let names = uplinks.iter().filter(leaves_by).map(Pattern::to_string).collect::<Vec<_>>().join(", ");
    let everywhere = |piece: &Match| {
        piece.output.is.as_ref().is_some_and(|is| uplinks.iter().any(|uplink| uplink.covers(is)))
    };
    if !item.certain.iter().all(everywhere) {
        skipped.part_all(item, &format!("only for what leaves by {names}"));
    }
    let own = item.certain.iter().any(|piece| match nat.to {
        Some((first, last)) => piece.source.holds(first) || piece.source.holds(last),
        None => piece.source.within.prefix_len() == 0,
    });
    if own && (nat.to.is_some() || nat.ports.is_some()) {
        skipped.part(&item.line, "what the gateway itself sends keeps its address and port");
    }
    if let Some(to) = nat.range() {
        let why = format!("natbpf answers ARP for {to} on {names} if the host does not have it");
        skipped.part(&item.line, why);
    }
    if nat.to.is_some() && nat.single().is_none() && !nat.persistent {
        skipped.part(&item.line, "a source always gets the same of these addresses, as with --persistent");
    }
}

/// Says of rules for what was not redirected that natbpf's are for the rest as well, where something goes on
/// to redirect.
pub fn say_redirected(items: &[Item], written: &[Written], arriving: &[Item], skipped: &mut Skipped) {
    let redirects = |verdict: &Verdict| match verdict {
        Verdict::Destination(_) => true,
        Verdict::Other(name) => matches!(name.as_str(), "DNAT" | "dnat" | "NETMAP"),
        _ => false,
    };
    let stays = |item: &&Item| redirects(&item.verdict) && skipped.lines.contains_key(&item.line.id);
    let stay: BTreeSet<_> = arriving.iter().filter(stays).map(|item| item.line.number).collect();
    if stay.is_empty() {
        return;
    }
    let lines = Lines::new(&stay);
    let why = format!(
        "also for what {lines} {}, which {} with iptables: natbpf's rules do not ask whether it was redirected",
        lines.or("redirects", "redirect"),
        lines.or("stays", "stay")
    );
    let asks = |item: &&Item| item.certain.iter().any(|piece| piece.redirected == Some(false));
    let is_written = |item: &&Item| written.iter().any(|rule| rule.line.id == item.line.id);
    items.iter().filter(asks).filter(is_written).for_each(|item| skipped.part(&item.line, why.clone()));
}

/// Without what an earlier one takes all of, and without exemptions from nothing: what nothing later would translate
/// needs none.
fn without_idle(written: Vec<Written>) -> Vec<Written> {
    let mut asked: Vec<Written> = Vec::new();
    for rule in written {
        if !asked.iter().any(|earlier| rule.piece.minus(&earlier.piece).is_empty()) {
            asked.push(rule);
        }
    }
    let needed = |at: usize, rule: &Written| {
        rule.nat.is_some()
            || asked[at + 1..].iter().any(|later| later.nat.is_some() && later.piece.overlaps(&rule.piece))
    };
    let kept = asked.iter().enumerate().filter(|(at, rule)| needed(*at, rule));
    kept.map(|(_, rule)| rule.clone()).collect()
}

/// Joins what iptables needs three rules for and natbpf one: the ports of TCP, those of UDP, and all other protocols.
fn join_protocols(items: &mut [Item]) {
    for at in 0..items.len().saturating_sub(2) {
        let [one, two, rest] = &mut items[at..at + 3] else { continue };
        let (Verdict::Source(first), Verdict::Source(second), Verdict::Source(third)) =
            (&one.verdict, &two.verdict, &rest.verdict)
        else {
            continue;
        };
        let certain = [&one.maybe, &two.maybe, &rest.maybe].iter().all(|maybe| maybe.is_empty());
        let ([a], [b], [c]) = (&one.certain[..], &two.certain[..], &rest.certain[..]) else { continue };
        let bare = |piece: &Match| Match { protocol: Protocols::default(), ..piece.clone() };
        let mut protocols = [a.protocol.is, b.protocol.is];
        protocols.sort_unstable();
        let joined = certain
            && protocols == [Some(TCP), Some(UDP)]
            && [a, b, c].iter().all(|piece| piece.ports.is_all() && piece.source_ports.is_all())
            && bare(a) == *c
            && bare(b) == *c
            && first.ports.is_some()
            && first == second
            && *third == SourceNat { ports: None, ..first.clone() };
        if joined {
            rest.verdict = Verdict::Source(first.clone());
            rest.joined.extend([one.line.clone(), two.line.clone()]);
            one.certain.clear();
            two.certain.clear();
        }
    }
}
