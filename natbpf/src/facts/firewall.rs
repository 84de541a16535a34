//! Rules of a network namespace, as the commands of iptables and nftables print them. They are read as `natbpf import`
//! reads them.

use std::{collections::BTreeMap, net::Ipv4Addr};

use super::{
    Flowtable, Source,
    flowtable::flowtables,
    mark,
    tables::{self, Table},
};
use crate::import::{model::Rules, outcomes::Holds, zones::Zoned};

pub use crate::import::{
    model::Packet,
    outcomes::{Forward, Hook, Miss, SourceNat, Translation, Wanted},
    zones::Zone,
};

/// All rules.
#[derive(Debug, Default)]
pub struct Firewall {
    sets: Vec<Set>,
    /// Some rules could not be looked at.
    partial: bool,
}

/// What one program has printed.
#[derive(Debug)]
pub struct Set {
    pub source: Source,
    pub text: String,
    /// `None`: there is nothing in it that can be read.
    rules: Option<Rules>,
    /// Lines that set marks, with the bits.
    marking: BTreeMap<usize, u32>,
}

/// A rule that decides about a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub source: Source,
    /// As it is printed: a rule, or the policy of a chain.
    pub text: String,
    /// Of nftables: family, table and chain, as its commands take them.
    pub chain: Option<String>,
}

impl Verdict {
    /// The command that deletes the rule, of this table of iptables.
    pub fn deleted(&self, table: &str) -> String {
        match &self.chain {
            Some(chain) => format!("nft delete rule {chain} handle {}", self.handle()),
            None => format!("{} -t {table} {}", self.source.name(), self.text.replacen("-A", "-D", 1)),
        }
    }

    /// By which commands of nft know it.
    pub fn handle(&self) -> &str {
        self.text.rsplit_once("handle ").map_or("HANDLE", |(_, handle)| handle)
    }
}

impl Firewall {
    pub fn sets(&self) -> &[Set] {
        &self.sets
    }

    /// Whether all rules were seen, so that what is in none of them is nowhere.
    pub const fn is_complete(&self) -> bool {
        !self.partial
    }

    /// What surely drops a packet at one of the hooks: whatever it is that is not understood of rules.
    pub fn drops(&self, hooks: &[Hook], packet: &Packet) -> Option<Verdict> {
        self.sets.iter().find_map(|set| set.drops(hooks, packet, &|_| None))
    }

    /// The same for a frame that comes by a port of a bridge.
    pub fn drops_from_port(&self, hooks: &[Hook], packet: &Packet, port: &str) -> Option<Verdict> {
        let drops = |set: &Set| {
            let holds = |line| port_match(set.line(line)?, port);
            set.drops(hooks, packet, &holds)
        };
        self.sets.iter().find_map(drops)
    }

    /// What becomes of its source address where it leaves, and the rule that exempts it.
    pub fn translation(&self, packet: &Packet) -> (Translation, Option<Verdict>) {
        let mut exempt = (Translation::Not, None);
        for set in &self.sets {
            match set.rules.as_ref().map(|rules| (rules, rules.surely_untranslated(packet))) {
                Some((_, Translation::May)) => return (Translation::May, None),
                Some((rules, found @ Translation::Exempt(line)))
                    if exempt.1.is_none() && rules.would_translate(packet) =>
                {
                    exempt = (found, set.printed(line));
                }
                _ => {}
            }
        }
        exempt
    }

    /// The rule by which a packet is not tracked.
    pub fn untracks(&self, packet: &Packet) -> Option<Verdict> {
        let untracks = |set: &Set| {
            // What is not understood of a rule is taken to let the packet be tracked.
            let holds =
                |line| set.line(line).is_some_and(|rule| rule.contains("ACCEPT") || rule.contains("accept"));
            set.printed(set.rules.as_ref()?.untracked(packet, &holds)?)
        };
        self.sets.iter().find_map(untracks)
    }

    /// Rules that translate sources, but not this packet's.
    pub fn misses(&self, packet: &Packet) -> Vec<(Verdict, Miss)> {
        self.all(|rules| rules.misses(packet), |miss| miss.line)
    }

    /// How its source is surely translated, and the rule that says so.
    pub fn source(&self, packet: &Packet) -> Option<(Verdict, SourceNat)> {
        self.sets.iter().find_map(|set| set.source(packet))
    }

    /// The one address that its source surely becomes, and the rule that says so.
    pub fn sender(&self, packet: &Packet) -> Option<(Verdict, Ipv4Addr)> {
        let (rule, nat) = self.source(packet)?;
        Some((rule, nat.single()?))
    }

    /// The fewest ports that a rule has for what it translates, of those that have more than one.
    pub fn fewest_ports(&self) -> Option<usize> {
        self.sets.iter().filter_map(|set| set.rules.as_ref()?.fewest_ports()).min()
    }

    /// What legacy tables and those of nf_tables each decide about a packet: the rule that translates it, or the policy
    /// by which it needs one that accepts it. `None`: one of the two leaves it to the other.
    pub fn decided_twice(&self, packet: &Packet) -> Option<[Verdict; 2]> {
        let decides = |legacy: bool| {
            let mut sets = self.sets.iter().filter(|set| (set.source == Source::Legacy) == legacy);
            sets.find_map(|set| {
                let policy = || set.printed(set.rules.as_ref()?.drop_policy()?);
                set.source(packet).map(|(rule, _)| rule).or_else(policy)
            })
        };
        Some([decides(true)?, decides(false)?])
    }

    /// The zone of conntrack that a packet is tracked in, with the rule that says so if one does; `None`: it is not
    /// known.
    pub fn zone(&self, packet: &Packet) -> Option<(Option<Verdict>, Zone)> {
        let mut found = (None, Zone::default());
        for set in &self.sets {
            match set.rules.as_ref()?.zone(packet) {
                Zoned::Not => {}
                Zoned::By(line, zone) if found.0.is_none() => found = (Some(set.printed(line)?), zone),
                Zoned::By(_, zone) if zone == found.1 => {}
                Zoned::By(..) | Zoned::Unknown => return None,
            }
        }
        Some(found)
    }

    /// Rules of DNAT for what comes from elsewhere.
    pub fn forwards(&self) -> Vec<(Verdict, Forward)> {
        self.all(Rules::forwards, |forward| forward.line)
    }

    /// What one program shows of a kind. nft shows what iptables has shown before once more.
    fn all<T>(&self, of: impl Fn(&Rules) -> Vec<T>, line: impl Fn(&T) -> usize) -> Vec<(Verdict, T)> {
        let of_set = |set: &Set| {
            let found = set.rules.as_ref().map(&of).unwrap_or_default();
            let printed = found.into_iter().filter_map(|one| Some((set.printed(line(&one))?, one)));
            printed.collect::<Vec<_>>()
        };
        self.sets.iter().map(of_set).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// Rules of filters at a hook that may be for a packet.
    pub fn asked(&self, hook: Hook, packet: &Packet) -> Vec<Verdict> {
        let of_set = |set: &Set| {
            let lines = set.rules.as_ref().map(|rules| rules.asked(hook, packet)).unwrap_or_default();
            lines.into_iter().filter_map(|line| set.printed(line)).collect::<Vec<_>>()
        };
        self.sets.iter().flat_map(of_set).collect()
    }

    /// Bits of the mark that a packet may have when it is routed.
    pub fn marks(&self, packet: &Packet) -> u32 {
        let of_set = |set: &Set| match &set.rules {
            _ if set.marking.is_empty() => 0,
            Some(rules) => {
                let asked = rules.before_routing(packet);
                asked.iter().filter_map(|line| set.marking.get(line)).fold(0, |all, bits| all | bits)
            }
            None => mark::ALL,
        };
        let seen = if self.is_complete() { 0 } else { mark::ALL };
        self.sets.iter().map(of_set).fold(seen, |all, bits| all | bits)
    }

    pub fn flowtables(&self) -> Vec<Flowtable> {
        let by_nft = self.sets.iter().filter(|set| set.source == Source::Nftables);
        by_nft.flat_map(|set| flowtables(&set.text)).collect()
    }

    /// Whether any line of any set has this in it.
    pub fn lines<'a>(&'a self, part: &'a str) -> impl Iterator<Item = (Source, &'a str)> {
        let lines = self.sets.iter().flat_map(|set| set.text.lines().map(|line| (set.source, line.trim())));
        lines.filter(move |(_, line)| line.contains(part))
    }
}

impl Set {
    fn drops(&self, hooks: &[Hook], packet: &Packet, holds: Holds<'_>) -> Option<Verdict> {
        self.printed(self.rules.as_ref()?.surely_dropped(hooks, packet, holds)?)
    }

    fn source(&self, packet: &Packet) -> Option<(Verdict, SourceNat)> {
        let (line, nat) = self.rules.as_ref()?.source(packet)?;
        Some((self.printed(line)?, nat))
    }

    fn printed(&self, line: usize) -> Option<Verdict> {
        let chain = if self.source == Source::Nftables { self.chain(line) } else { None };
        let text = self.line(line)?;
        // What a policy has counted is no part of it.
        let text = if text.starts_with(':') { text.split(" [").next()? } else { text };
        Some(Verdict { source: self.source, text: text.to_owned(), chain })
    }

    /// The chain of nftables that a line is in.
    fn chain(&self, line: usize) -> Option<String> {
        let above = || self.text.lines().take(line);
        let last =
            |word: &str| above().filter_map(|line| line.trim().strip_prefix(word)).last()?.split_once(" {");
        Some(format!("{} {}", last("table ")?.0, last("chain ")?.0))
    }

    fn line(&self, number: usize) -> Option<&str> {
        self.text.lines().nth(number.checked_sub(1)?).map(str::trim)
    }
}

/// Whether a rule with a match of physdev is for what comes by a port; `None`: nobody knows.
fn port_match(rule: &str, port: &str) -> Option<bool> {
    let words: Vec<_> = rule.split_whitespace().collect();
    let at = |option: &str| words.iter().position(|word| *word == option);
    let input = at("--physdev-in")?;
    let name = words.get(input + 1)?;
    let is = name.strip_suffix('+').map_or(*name == port, |start| port.starts_with(start));
    if is == (input > 0 && words[input - 1] == "!") {
        return Some(false);
    }
    let known = ["physdev", "tcp", "udp", "comment", "conntrack", "state", "addrtype", "multiport"];
    let mut modules = words.windows(2).filter(|pair| pair[0] == "-m").map(|pair| pair[1]);
    (modules.all(|module| known.contains(&module)) && at("--physdev-out").is_none()).then_some(true)
}

/// Those of the namespace of the calling thread, and what could not be looked at. `within` names the namespace in a
/// sentence.
pub fn look(within: &str) -> (Firewall, Vec<String>) {
    let mut unseen = Vec::new();
    let mut sets = Vec::new();
    // Whether iptables has shown all of its own.
    let mut shown = false;
    for source in Source::ALL.into_iter().filter(|source| source.is_used()) {
        match source.print() {
            Ok(text) => {
                // It says so of a table that somebody else has changed.
                shown |= source == Source::Iptables && !text.contains("use 'nft' tool");
                if !text.trim().is_empty() {
                    let rules = Rules::parse(&text);
                    if let Err(error) = &rules {
                        unseen.push(format!("rules of {}{within}: {error}", source.name()));
                    }
                    // Of very many rules there are few.
                    let lines = (1..).zip(text.lines()).map(|(line, rule)| (line, mark::set_by(rule)));
                    let marking = lines.filter(|(_, bits)| *bits != 0).collect();
                    sets.push(Set { source, text, rules: rules.ok(), marking });
                }
            }
            Err(_) if source == Source::Nftables && shows_all(shown) => {}
            Err(error) if source != Source::Iptables => {
                unseen.push(format!("rules of {}{}: {error}", source.name(), within));
            }
            Err(_) => {}
        }
    }
    (Firewall { sets, partial: !unseen.is_empty() }, unseen)
}

/// Whether nobody needs nft to see the rules of the namespace of the calling thread.
fn shows_all(by_iptables: bool) -> bool {
    let is_shown = |table: Table| table == Table::Other || by_iptables && table == Table::Iptables;
    tables::look().is_ok_and(|tables| tables.into_iter().all(is_shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_port_is_for() {
        let of = |rule| port_match(rule, "tap0");
        assert_eq!(of("-A FORWARD -m physdev --physdev-in tap0 -j DROP"), Some(true));
        assert_eq!(of("-A FORWARD -m physdev --physdev-in tap+ --physdev-is-bridged -j DROP"), Some(true));
        assert_eq!(
            of("-A FORWARD -m physdev --physdev-in tap1 -m set --match-set a src -j DROP"),
            Some(false)
        );
        assert_eq!(of("-A FORWARD -m physdev ! --physdev-in tap0 -j DROP"), Some(false));
        assert_eq!(of("-A FORWARD -m physdev --physdev-in tap0 -m set --match-set a src -j DROP"), None);
        assert_eq!(of("-A FORWARD -m physdev --physdev-out tap0 -j DROP"), None);
    }
}
