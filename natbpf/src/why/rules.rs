//! Which rule has dropped a packet: the one that has counted it.

use std::{fs, io, process::Command};

use super::inside::inside;
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
/// Families of nftables whose rules are not for packets of the other one.
const OTHERS: [&str; 2] = ["ip6 ", "ip "];

/// A rule that drops, with what it has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    source: Source,
    /// Of iptables: it is ip6tables.
    is_v6: bool,
    /// Of iptables its name; of nftables `FAMILY NAME`.
    pub table: String,
    pub chain: String,
    /// As it is printed, without the counter.
    pub text: String,
    packets: u64,
}

impl Counted {
    /// The program that shows it.
    pub const fn shown_by(&self) -> &'static str {
        match (self.source, self.is_v6) {
            (Source::Iptables, true) => "ip6tables",
            (Source::Legacy, true) => "ip6tables-legacy",
            (source, _) => source.name(),
        }
    }

    /// What takes it away.
    pub fn mend(&self) -> String {
        let Self { table, chain, text, source, is_v6, .. } = self;
        let iptables = if *is_v6 { "ip6tables" } else { "iptables" };
        match source {
            Source::Nftables => match text.rsplit_once("# handle ") {
                Some((_, handle)) => format!("nft delete rule {table} {chain} handle {handle}"),
                None => format!("nft chain {table} {chain} {{ policy accept ; }}"),
            },
            Source::Iptables | Source::Legacy => match text.strip_prefix("-A ") {
                Some(rule) => format!("{iptables} -t {table} -D {rule}"),
                None => format!("{iptables} -t {table} -P {chain} ACCEPT"),
            },
        }
    }
}

/// Those of a network namespace now, for a family.
pub fn counted(place: &Place, is_v6: bool) -> Vec<Counted> {
    let family = usize::from(is_v6);
    let print = || -> io::Result<Vec<Counted>> {
        let mut all = Vec::new();
        for (source, command) in COUNTED[family] {
            // To ask ip_tables for its tables would make them.
            if source == Source::Legacy && fs::read_to_string(LEGACY[family]).unwrap_or_default().is_empty() {
                continue;
            }
            let [program, arguments @ ..] = command else { continue };
            let Ok(output) = Command::new(program).args(arguments).env("LC_ALL", "C").output() else {
                continue;
            };
            all.extend(read(source, &String::from_utf8_lossy(&output.stdout), is_v6));
        }
        Ok(all)
    };
    inside(place, print).unwrap_or_default()
}

/// The first that has counted more than before.
pub fn has_counted<'a>(before: &[Counted], after: &'a [Counted]) -> Option<&'a Counted> {
    after.iter().find(|rule| {
        let same = |old: &&Counted| {
            (old.source, &old.table, &old.chain, &old.text)
                == (rule.source, &rule.table, &rule.chain, &rule.text)
        };
        before.iter().find(same).is_some_and(|old| old.packets < rule.packets)
    })
}

/// Lines of any rules that drop, for where no counter tells.
pub fn suspects(firewall: &Firewall, is_v6: bool) -> Vec<Verdict> {
    if is_v6 {
        // Those of ip6tables are shown by nft.
        let rules = firewall.sets().iter().filter(|set| set.source == Source::Nftables);
        let rules = rules.flat_map(|set| read(set.source, &set.text, is_v6));
        return rules.map(|rule| Verdict { source: rule.source, text: rule.text, chain: None }).collect();
    }
    let lines = ["DROP", "REJECT", " drop", " reject"].into_iter().flat_map(|word| firewall.lines(word));
    let mut drops: Vec<Verdict> = Vec::new();
    for (source, text) in lines {
        let is_unused = text.starts_with(':') && !text.contains(" DROP ");
        if !is_unused && !drops.iter().any(|drop| drop.text == text) {
            drops.push(Verdict { source, text: text.to_owned(), chain: None });
        }
    }
    drops
}

/// The rule of this text, with its table and chain.
pub fn of_text(firewall: &Firewall, text: &str, is_v6: bool) -> Option<Counted> {
    // A policy has its counter behind it.
    let plain = text.split(" [").next().unwrap_or_default();
    let mut rules = firewall.sets().iter().flat_map(|set| read(set.source, &set.text, is_v6));
    rules.find(|rule| rule.text == text || rule.text == plain)
}

/// `is_v6`: what is for the other family is left out.
fn read(source: Source, text: &str, is_v6: bool) -> Vec<Counted> {
    if source != Source::Nftables {
        return iptables((source, is_v6), text);
    }
    let mut rules = nftables(text);
    rules.retain(|rule| !rule.table.starts_with(OTHERS[usize::from(is_v6)]));
    rules
}

/// `*TABLE`, `:CHAIN POLICY [PACKETS:BYTES]`, `[PACKETS:BYTES] -A CHAIN …`.
fn iptables((source, is_v6): (Source, bool), text: &str) -> Vec<Counted> {
    let mut table = String::new();
    let mut all = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('*') {
            name.clone_into(&mut table);
        } else if let Some(chain) = line.strip_prefix(':') {
            let words: Vec<_> = chain.split_whitespace().collect();
            if let [chain, "DROP", counter] = words[..] {
                all.push(Counted {
                    source,
                    is_v6,
                    table: table.clone(),
                    chain: chain.to_owned(),
                    text: format!(":{chain} DROP"),
                    packets: packets(counter),
                });
            }
        } else if let Some(at) = line.find("-A ")
            && ["DROP", "REJECT"].iter().any(|target| line.contains(&format!("-j {target}")))
        {
            let (counter, rule) = line.split_at(at);
            let chain = rule.split_whitespace().nth(1).unwrap_or_default().to_owned();
            let (table, text) = (table.clone(), rule.to_owned());
            all.push(Counted { source, is_v6, table, chain, text, packets: packets(counter) });
        }
    }
    all
}

/// `[PACKETS:BYTES]`
fn packets(counter: &str) -> u64 {
    let number = counter.trim_start_matches('[').split(':').next().unwrap_or_default();
    number.parse().unwrap_or_default()
}

/// `table FAMILY NAME {`, `chain NAME {`, and rules with `counter packets N bytes M`.
fn nftables(text: &str) -> Vec<Counted> {
    let (mut table, mut chain) = (String::new(), String::new());
    let mut all = Vec::new();
    for line in text.lines().map(str::trim) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["table", family, name, ..] => table = format!("{family} {name}"),
            ["chain", name, ..] => name.clone_into(&mut chain),
            _ => {}
        }
        // A policy ends with a semicolon.
        let drops = words.iter().any(|word| matches!(*word, "drop" | "drop;" | "reject"));
        if !drops {
            continue;
        }
        let (text, packets) = match line.split_once("counter packets ") {
            Some((head, counter)) => {
                let mut rest = counter.splitn(4, ' ');
                let packets = rest.next().and_then(|number| number.parse().ok()).unwrap_or_default();
                (format!("{head}counter {}", rest.nth(2).unwrap_or_default()), packets)
            }
            None => (line.to_owned(), 0),
        };
        all.push(Counted {
            source: Source::Nftables,
            is_v6: false,
            table: table.clone(),
            chain: chain.clone(),
            text,
            packets,
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = "*raw\n:PREROUTING ACCEPT [9:9]\n[2:168] -A PREROUTING -s 10.0.0.11/32 -j DROP\nCOMMIT\n\
                         *filter\n:FORWARD DROP [5:420]\n[7:1] -A FORWARD -j ACCEPT\nCOMMIT\n";
    const LISTED: &str = "table inet guard { # handle 3\n\tchain forward { # handle 1\n\t\t\
                          ip saddr 10.0.0.11 counter packets 4 bytes 336 drop # handle 2\n\t}\n}\n";

    #[test]
    fn the_rule_that_counts_is_found_with_its_table_and_chain() {
        let before = iptables((Source::Iptables, false), SAVED);
        assert_eq!(before.len(), 2);
        let after = iptables((Source::Iptables, false), &SAVED.replace("[2:168]", "[3:252]"));
        let rule = has_counted(&before, &after).unwrap();
        assert_eq!((&*rule.table, &*rule.chain), ("raw", "PREROUTING"));
        assert_eq!(rule.mend(), "iptables -t raw -D PREROUTING -s 10.0.0.11/32 -j DROP");
        let after = iptables((Source::Iptables, false), &SAVED.replace("[5:420]", "[6:504]"));
        assert_eq!(has_counted(&before, &after).unwrap().mend(), "iptables -t filter -P FORWARD ACCEPT");
        assert_eq!(has_counted(&before, &before), None);
    }

    #[test]
    fn rules_of_ip6tables_are_taken_away_by_it() {
        let rules = iptables((Source::Iptables, true), SAVED);
        assert_eq!(rules[0].shown_by(), "ip6tables");
        assert_eq!(rules[1].mend(), "ip6tables -t filter -P FORWARD ACCEPT");
    }

    #[test]
    fn rules_of_nftables_for_the_other_family_do_not_count() {
        let of = |table: &str| LISTED.replace("table inet", table);
        for (table, expected) in [("table inet", [1, 1]), ("table ip6", [0, 1]), ("table ip", [1, 0])] {
            let count = |is_v6| read(Source::Nftables, &of(table), is_v6).len();
            assert_eq!([count(false), count(true)], expected, "{table}");
        }
    }

    #[test]
    fn rules_of_nftables_have_handles() {
        let before = nftables(LISTED);
        let after = nftables(&LISTED.replace("packets 4", "packets 5"));
        let rule = has_counted(&before, &after).unwrap();
        assert_eq!(rule.text, "ip saddr 10.0.0.11 counter drop # handle 2");
        assert_eq!(rule.mend(), "nft delete rule inet guard forward handle 2");
        assert_eq!(nftables(&LISTED.replace("counter packets 4 bytes 336 ", "")).len(), 1);
    }
}
