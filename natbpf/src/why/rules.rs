//! Which rule has dropped a packet: the one that has counted it.

use std::{fs, io, net::IpAddr, process::Command};

use super::{
    inside::inside,
    listing::{Counted, read},
};
use crate::facts::{Firewall, Place, Source, Verdict};

/// What shows rules with their counters, for IPv4 and for IPv6.
const COUNTED: [[(Source, &[&str]); 3]; 2] = [
    [
        (Source::Iptables, &["iptables-nft-save", "-c"]),
        (Source::Legacy, &["iptables-legacy-save", "-c"]),
        (Source::Nftables, &["nft", "-a", "list", "ruleset"]),
    ],
    [
        (Source::Iptables, &["ip6tables-nft-save", "-c"]),
        (Source::Legacy, &["ip6tables-legacy-save", "-c"]),
        (Source::Nftables, &["nft", "-a", "list", "ruleset"]),
    ],
];
/// Names of the tables of iptables-legacy that are in use.
const LEGACY: [&str; 2] = ["/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names"];

/// Where rules may meet a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It is for the machine itself.
    In,
    /// It is passed on.
    Through,
    /// The machine has sent it.
    Out,
}

impl Passage {
    /// Of a packet in a network namespace, by its ends there.
    pub fn of(place: &Place, source: IpAddr, destination: IpAddr) -> Self {
        if place.has(source) {
            Self::Out
        } else if place.has(destination) {
            Self::In
        } else {
            Self::Through
        }
    }

    fn meets(self, rule: &Counted) -> bool {
        let hooks: &[&str] = match self {
            Self::In => &["", "ingress", "prerouting", "input"],
            Self::Through => &["", "ingress", "prerouting", "forward", "postrouting", "egress"],
            Self::Out => &["", "output", "postrouting", "egress"],
        };
        hooks.contains(&&*rule.hook)
    }
}

/// Those of a network namespace now, for a family.
pub fn counted(place: &Place, is_v6: bool) -> Vec<Counted> {
    let family = usize::from(is_v6);
    let print = || -> io::Result<Vec<Counted>> {
        let mut lists = Vec::new();
        for (source, command) in COUNTED[family] {
            // To ask ip_tables for its tables would make them.
            if source == Source::Legacy && fs::read_to_string(LEGACY[family]).unwrap_or_default().is_empty() {
                continue;
            }
            let [program, arguments @ ..] = command else { continue };
            let Ok(output) = Command::new(program).args(arguments).env("LC_ALL", "C").output() else {
                continue;
            };
            lists.push((source, String::from_utf8_lossy(&output.stdout).into_owned()));
        }
        Ok(read(lists.iter().map(|(source, text)| (*source, &**text)), is_v6))
    };
    inside(place, print).unwrap_or_default()
}

/// Rules with what they have counted since. None where rules have come or gone.
pub fn growth(before: &[Counted], after: Vec<Counted>, passage: Passage) -> Vec<(Counted, u64)> {
    if before.len() != after.len() || before.iter().zip(&after).any(|(old, new)| !old.is(new)) {
        return Vec::new();
    }
    let since = |(old, new): (&Counted, Counted)| {
        let more = new.packets?.checked_sub(old.packets?)?;
        passage.meets(&new).then_some((new, more))
    };
    before.iter().zip(after).filter_map(since).collect()
}

/// Rules that may have dropped it, for where no counter tells.
pub fn suspects(firewall: &Firewall, passage: Passage, is_v6: bool) -> Vec<Counted> {
    let mut rules = known(firewall, is_v6);
    rules.retain(|rule| passage.meets(rule));
    rules
}

/// The rule of IPv4 that rules were read to drop by, with its table and chain.
pub fn of_verdict(firewall: &Firewall, verdict: &Verdict) -> Option<Counted> {
    let is_it = |rule: &Counted| {
        let is_there = |chain: &String| *chain == format!("{} {}", rule.table, rule.chain);
        rule.is_printed_as(&verdict.text) && verdict.chain.as_ref().is_none_or(is_there)
    };
    known(firewall, false).into_iter().find(is_it)
}

/// As they were when the host was looked at, without those of ip6tables that nft does not show.
fn known(firewall: &Firewall, is_v6: bool) -> Vec<Counted> {
    let sets = firewall.sets().iter().filter(|set| !is_v6 || set.source == Source::Nftables);
    read(sets.map(|set| (set.source, &*set.text)), is_v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = "*raw\n:PREROUTING ACCEPT [9:9]\n[2:168] -A PREROUTING -s 10.0.0.11/32 -j DROP\nCOMMIT\n\
                         *filter\n:INPUT DROP [1:1]\n:FORWARD DROP [5:420]\n[7:1] -A FORWARD -j ACCEPT\nCOMMIT\n";

    fn rules(text: &str, is_v6: bool) -> Vec<Counted> {
        read([(Source::Iptables, text)], is_v6)
    }

    fn grown(changes: &[(&str, &str)]) -> Vec<(String, u64)> {
        let text = changes.iter().fold(SAVED.to_owned(), |text, (from, to)| text.replace(from, to));
        let growth = growth(&rules(SAVED, false), rules(&text, false), Passage::Through);
        growth.into_iter().filter(|(_, more)| *more > 0).map(|(rule, more)| (rule.mend(), more)).collect()
    }

    #[test]
    fn a_rule_that_counts_is_found_with_its_table_and_chain() {
        let rule = "iptables -t raw -D PREROUTING -s 10.0.0.11/32 -j DROP".to_owned();
        assert_eq!(grown(&[("[2:168]", "[5:420]")]), [(rule, 3)]);
        let policy = "iptables -t filter -P FORWARD ACCEPT".to_owned();
        assert_eq!(grown(&[("[5:420]", "[6:504]")]), [(policy, 1)]);
        assert_eq!(grown(&[]), []);
    }

    #[test]
    fn what_a_packet_does_not_meet_has_not_dropped_it() {
        assert_eq!(grown(&[("[1:1]", "[4:4]")]), []);
    }

    #[test]
    fn counters_of_other_rules_are_not_compared() {
        assert_eq!(grown(&[("[2:168]", "[5:420]"), ("10.0.0.11", "10.0.0.12")]), []);
    }

    #[test]
    fn rules_of_ip6tables_are_taken_away_by_it() {
        let rules = rules(SAVED, true);
        assert_eq!(rules[0].shown_by(), "ip6tables");
        assert_eq!(rules[2].mend(), "ip6tables -t filter -P FORWARD ACCEPT");
    }
}
