//! What surely becomes of a packet, whatever it is that is not known of the rules.
//!
//! Where something of a rule is not known, both are followed: that it matches, and that it does not.

use std::{cell::RefCell, collections::BTreeMap, net::Ipv4Addr};

use ipnet::Ipv4Net;

use super::{
    matching::Match,
    model::{Packet, Rules, contains},
    ruleset::{Kind, Policy, Table},
    target::{Target, Verdict},
};

pub use super::{ruleset::Hook, target::SourceNat};

/// Says whether what is not known of a line holds; `None`: nobody knows.
pub type Holds<'a> = &'a dyn Fn(usize) -> Option<bool>;

/// What rules do to the source of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// It is translated, or may be.
    May,
    /// It is not, because of this line.
    Exempt(usize),
    Not,
}

/// A rule that translates, but not this packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    pub line: usize,
    pub wanted: Wanted,
}

/// What a packet has to have that it is translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// To leave by this device.
    Output(String),
    /// To come from there.
    Source(Ipv4Net),
    /// To go there.
    Destination(Ipv4Net),
}

/// A rule that translates destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    pub line: usize,
    /// The device that packets come by, if it names one.
    pub input: Option<String>,
    /// The address that it is for, if it is one.
    pub destination: Option<Ipv4Addr>,
    pub to: Ipv4Addr,
}

impl Rules {
    /// The line that drops a packet at one of the hooks, if it is dropped there for sure.
    pub fn surely_dropped(&self, hooks: &[Hook], packet: &Packet, holds: Holds<'_>) -> Option<usize> {
        let bases = hooks.iter().flat_map(|hook| self.0.bases(Kind::Filter, *hook));
        bases.into_iter().find_map(|(table, name, base)| {
            let ends = Walk::new(table, packet, holds).chain(name);
            let dropped = |(verdict, _): &(Verdict, usize)| *verdict == Verdict::Drop;
            let falls = ends.falls && base.policy == Policy::Accept;
            if falls || !ends.decided.iter().all(dropped) {
                return None;
            }
            Some(ends.decided.first().map_or(base.line.number, |(_, line)| *line))
        })
    }

    /// Lines of rules that may be for a packet before it is routed.
    pub fn before_routing(&self, packet: &Packet) -> Vec<usize> {
        let kinds = [Kind::Filter, Kind::Nat].into_iter();
        let bases = kinds.flat_map(|kind| self.0.bases(kind, Hook::Prerouting));
        let rules = bases.flat_map(|(table, name, _)| table.called_from(name));
        let for_it = rules.filter(|rule| rule.pieces.iter().any(|piece| contains(piece, packet)));
        for_it.map(|rule| rule.line.number).collect()
    }

    /// Lines of rules of filters at a hook that may be for a packet.
    pub fn asked(&self, hook: Hook, packet: &Packet) -> Vec<usize> {
        let bases = self.0.bases(Kind::Filter, hook).into_iter();
        let rules = bases.flat_map(|(table, name, _)| table.called_from(name));
        let for_it = rules.filter(|rule| rule.pieces.iter().any(|piece| contains(piece, packet)));
        for_it.map(|rule| rule.line.number).collect()
    }

    /// What becomes of its source where it leaves.
    pub fn surely_untranslated(&self, packet: &Packet) -> Translation {
        let mut exempt = None;
        for (table, name, _) in self.0.bases(Kind::Nat, Hook::Postrouting) {
            let ends = Walk::new(table, packet, &|_| None).chain(name);
            if ends.decided.iter().any(|(verdict, _)| *verdict != Verdict::Accept) {
                return Translation::May;
            }
            let accepted = ends.decided.first().map(|(_, line)| *line);
            exempt = exempt.or(accepted).or_else(|| ends.returned.first().copied());
        }
        exempt.map_or(Translation::Not, Translation::Exempt)
    }

    /// Whether a rule would translate a packet, were it asked for it.
    pub fn would_translate(&self, packet: &Packet) -> bool {
        self.sources().any(|(_, pieces)| pieces.iter().any(|piece| contains(piece, packet)))
    }

    /// Rules that translate packets which differ in one thing from this one.
    pub fn misses(&self, packet: &Packet) -> Vec<Miss> {
        let pieces = self.sources().flat_map(|(line, pieces)| pieces.iter().map(move |piece| (line, piece)));
        pieces.filter_map(|(line, piece)| Some(Miss { line, wanted: wanted(piece, packet)? })).collect()
    }

    /// How its source is surely translated, and the line that says so.
    pub fn source(&self, packet: &Packet) -> Option<(usize, SourceNat)> {
        let bases = self.0.bases(Kind::Nat, Hook::Postrouting);
        let ends = bases.into_iter().map(|(table, name, _)| Walk::new(table, packet, &|_| None).chain(name));
        let ends = ends.filter(|ends| !ends.decided.is_empty()).collect::<Vec<_>>();
        let [Ends { decided, falls: false, .. }] = &ends[..] else { return None };
        match &decided[..] {
            [(Verdict::Source(nat), line)] => Some((*line, nat.clone())),
            _ => None,
        }
    }

    /// The fewest ports that a rule has for what it translates, of those that have more than one.
    pub fn fewest_ports(&self) -> Option<usize> {
        let sources = self.0.tables.iter().flat_map(Table::rules);
        let ports = sources.filter_map(|(_, rule)| match &rule.target {
            Target::Do(Verdict::Source(nat)) => Some(nat.allowed_ports().len()),
            _ => None,
        });
        ports.filter(|ports| *ports > 1).min()
    }

    /// The line of the policy by which FORWARD drops what no rule accepts.
    pub fn drop_policy(&self) -> Option<usize> {
        let mut bases = self.0.bases(Kind::Filter, Hook::Forward).into_iter();
        bases.find(|(.., base)| base.policy == Policy::Drop).map(|(.., base)| base.line.number)
    }

    /// Rules of DNAT for what comes from elsewhere.
    pub fn forwards(&self) -> Vec<Forward> {
        let mut forwards = Vec::new();
        for (table, name, _) in self.0.bases(Kind::Nat, Hook::Prerouting) {
            for rule in table.called_from(name) {
                let (Target::Do(Verdict::Destination(nat)), [piece]) = (&rule.target, &rule.pieces[..])
                else {
                    continue;
                };
                forwards.push(Forward {
                    line: rule.line.number,
                    input: piece.input.name().map(str::to_owned),
                    destination: piece.destination.single(),
                    to: nat.address,
                });
            }
        }
        forwards
    }

    /// Rules that translate sources, with their lines.
    fn sources(&self) -> impl Iterator<Item = (usize, &[Match])> {
        let bases = self.0.bases(Kind::Nat, Hook::Postrouting).into_iter();
        let rules = bases.flat_map(|(table, name, _)| table.called_from(name));
        rules.filter_map(|rule| match &rule.target {
            Target::Do(Verdict::Source(_)) if rule.unknown.is_none() => {
                Some((rule.line.number, &rule.pieces[..]))
            }
            _ => None,
        })
    }
}

/// What has to be otherwise of a packet that a piece contains it.
fn wanted(piece: &Match, packet: &Packet) -> Option<Wanted> {
    let output = piece.output.name().map(|name| Wanted::Output(name.to_owned()));
    let (source, destination) = (piece.source.within, piece.destination.within);
    let wanted = output.into_iter().chain([Wanted::Source(source), Wanted::Destination(destination)]);
    let mut wanted = wanted.filter(|wanted| {
        let mut packet = packet.clone();
        match wanted {
            Wanted::Output(name) => packet.output.clone_from(name),
            Wanted::Source(network) => packet.source = network.addr(),
            Wanted::Destination(network) => packet.destination = network.addr(),
        }
        contains(piece, &packet)
    });
    wanted.next().filter(|_| !contains(piece, packet))
}

/// How a way through a chain may end.
#[derive(Clone, Debug, Default)]
struct Ends {
    decided: Vec<(Verdict, usize)>,
    /// Nothing decides, and the rule after the jump is asked.
    falls: bool,
    /// Lines of RETURN that it may meet in this chain.
    returned: Vec<usize>,
}

/// A packet on its way through a table.
struct Walk<'a> {
    table: &'a Table,
    packet: &'a Packet,
    holds: Holds<'a>,
    /// What is known of chains that were asked. A chain may be called from many places.
    known: RefCell<BTreeMap<&'a str, Ends>>,
}

impl<'a> Walk<'a> {
    fn new(table: &'a Table, packet: &'a Packet, holds: Holds<'a>) -> Self {
        Self { table, packet, holds, known: RefCell::default() }
    }

    fn chain(&self, name: &'a str) -> Ends {
        if let Some(ends) = self.known.borrow().get(name) {
            return ends.clone();
        }
        // The kernel refuses chains that call each other in a circle.
        self.known.borrow_mut().insert(name, Ends { falls: true, ..Ends::default() });
        let ends = self.walk(name);
        self.known.borrow_mut().insert(name, ends.clone());
        ends
    }

    fn walk(&self, name: &str) -> Ends {
        let mut ends = Ends::default();
        let rules = self.table.chains.get(name).into_iter().flat_map(|chain| &chain.rules);
        for rule in rules.filter(|rule| rule.pieces.iter().any(|piece| contains(piece, self.packet))) {
            let line = rule.line.number;
            let holds = if rule.unknown.is_some() { (self.holds)(line) } else { Some(true) };
            if holds == Some(false) {
                continue;
            }
            let goes_on = match &rule.target {
                Target::None | Target::Pass(_) => true,
                Target::Return => {
                    ends.returned.push(line);
                    ends.falls = true;
                    false
                }
                Target::Do(verdict) => {
                    ends.decide([(verdict.clone(), line)]);
                    false
                }
                Target::Jump(name) if self.table.chains.contains_key(name) => {
                    let called = self.chain(name);
                    ends.decide(called.decided);
                    ends.falls |= called.falls && rule.goto;
                    called.falls && !rule.goto
                }
                Target::Jump(name) => {
                    ends.decide([(Verdict::Other(name.clone()), line)]);
                    false
                }
            };
            if holds == Some(true) && !goes_on {
                return ends;
            }
        }
        ends.falls = true;
        ends
    }
}

impl Ends {
    fn decide(&mut self, more: impl IntoIterator<Item = (Verdict, usize)>) {
        for end in more {
            if !self.decided.contains(&end) {
                self.decided.push(end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Packet {
        Packet::forwarded("br0", "wan", Ipv4Addr::new(10, 0, 0, 11), Ipv4Addr::new(192, 0, 2, 1))
    }

    fn rules(table: &str, chains: &str, lines: &str) -> Rules {
        Rules::parse(&format!("*{table}\n{chains}\n{lines}\nCOMMIT\n")).unwrap()
    }

    fn dropped(lines: &str, holds: Option<bool>) -> Option<usize> {
        let rules = rules("filter", ":INPUT ACCEPT\n:FORWARD DROP\n:OUTPUT ACCEPT\n:GUARD -", lines);
        rules.surely_dropped(&[Hook::Forward], &packet(), &|_| holds)
    }

    #[test]
    fn what_is_not_known_may_let_it_pass() {
        let guard = "-A FORWARD -m physdev --physdev-in tap0 -j GUARD\n-A GUARD -j DROP\n";
        assert_eq!(dropped(guard, None), Some(7), "by the chain or by the policy");
        let other = "-A FORWARD -m physdev --physdev-in tap1 -j ACCEPT";
        assert_eq!(dropped(&format!("{guard}{other}"), None), None);
        assert_eq!(dropped(&format!("{guard}{other}"), Some(false)), Some(3));
        assert_eq!(
            dropped("-A FORWARD -j GUARD\n-A GUARD -i br0 -j RETURN\n-A GUARD -j ACCEPT", None),
            Some(3)
        );
        assert_eq!(dropped("-A FORWARD -g GUARD\n-A GUARD -o wan -j ACCEPT", None), None);
    }

    #[test]
    fn why_a_source_stays() {
        let rules = |lines: &str| rules("nat", ":PREROUTING ACCEPT\n:POSTROUTING ACCEPT", lines);
        let masquerade = "-A POSTROUTING -s 10.0.0.0/24 -o wan -j MASQUERADE";
        let after = |line: &str| rules(&format!("{line}\n{masquerade}")).surely_untranslated(&packet());
        assert_eq!(after("-A POSTROUTING -o eth1 -j ACCEPT"), Translation::May);
        assert_eq!(after("-A POSTROUTING -s 10.0.0.0/8 -j ACCEPT"), Translation::Exempt(4));
        assert_eq!(after("-A POSTROUTING -s 10.0.0.0/8 -j RETURN"), Translation::Exempt(4));
        assert_eq!(after("-A POSTROUTING -m mark --mark 1 -j ACCEPT"), Translation::May);
        let missed = |line: &str| rules(line).misses(&packet());
        let of = |wanted| vec![Miss { line: 4, wanted }];
        assert_eq!(missed("-A POSTROUTING -o eth1 -j MASQUERADE"), of(Wanted::Output("eth1".to_owned())));
        let source = "10.1.0.0/24".parse().unwrap();
        assert_eq!(missed("-A POSTROUTING -s 10.1.0.0/24 -j MASQUERADE"), of(Wanted::Source(source)));
        assert_eq!(missed("-A POSTROUTING -s 10.1.0.0/24 -o eth1 -j MASQUERADE"), []);
        assert_eq!(missed(masquerade), []);
    }
}
