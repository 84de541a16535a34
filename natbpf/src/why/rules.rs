//! Which rule has dropped a packet: the one that has counted it.

use std::{fs::File, io, process::Command};

use crate::{
    facts::{Firewall, Place, Source, Verdict},
    netns::inside,
    network::namespaces_with_a_way_in,
};

/// What shows rules with their counters.
const COUNTED: [(Source, &[&str]); 3] = [
    (Source::Iptables, &["iptables-nft-save", "-c"]),
    (Source::Legacy, &["iptables-legacy-save", "-c"]),
    (Source::Nftables, &["nft", "-a", "list", "ruleset"]),
];

/// A rule that drops, with what it has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub source: Source,
    /// Of iptables its name; of nftables `FAMILY NAME`.
    pub table: String,
    pub chain: String,
    /// As it is printed, without the counter.
    pub text: String,
    packets: u64,
}

impl Counted {
    /// What takes it away.
    pub fn mend(&self) -> String {
        let Self { table, chain, text, source, .. } = self;
        match source {
            Source::Nftables => match text.rsplit_once("# handle ") {
                Some((_, handle)) => format!("nft delete rule {table} {chain} handle {handle}"),
                None => format!("nft chain {table} {chain} '{{ policy accept ; }}'"),
            },
            Source::Iptables | Source::Legacy => match text.strip_prefix("-A ") {
                Some(rule) => format!("iptables -t {table} -D {rule}"),
                None => format!("iptables -t {table} -P {chain} ACCEPT"),
            },
        }
    }
}

/// Those of a network namespace now.
pub fn counted(place: &Place) -> Vec<Counted> {
    let print = || -> io::Result<Vec<Counted>> {
        let mut all = Vec::new();
        for (source, command) in COUNTED {
            // To ask ip_tables for its tables would make them.
            if source == Source::Legacy && !place.firewall.sets().iter().any(|set| set.source == source) {
                continue;
            }
            let [program, arguments @ ..] = command else { continue };
            let Ok(output) = Command::new(program).args(arguments).env("LC_ALL", "C").output() else {
                continue;
            };
            all.extend(read(source, &String::from_utf8_lossy(&output.stdout)));
        }
        Ok(all)
    };
    if place.name.is_empty() {
        return print().unwrap_or_default();
    }
    let there = namespaces_with_a_way_in().into_iter().find(|handle| handle.to_string() == place.name);
    let file: Option<File> = there.and_then(|handle| handle.open().ok());
    file.and_then(|file| inside(&file, print).ok()).unwrap_or_default()
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
pub fn suspects(firewall: &Firewall) -> Vec<Verdict> {
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
pub fn of_text(firewall: &Firewall, text: &str) -> Option<Counted> {
    // A policy has its counter behind it.
    let plain = text.split(" [").next().unwrap_or_default();
    let mut rules = firewall.sets().iter().flat_map(|set| read(set.source, &set.text));
    rules.find(|rule| rule.text == text || rule.text == plain)
}

fn read(source: Source, text: &str) -> Vec<Counted> {
    if source == Source::Nftables { nftables(text) } else { iptables(source, text) }
}

/// `*TABLE`, `:CHAIN POLICY [PACKETS:BYTES]`, `[PACKETS:BYTES] -A CHAIN …`.
fn iptables(source: Source, text: &str) -> Vec<Counted> {
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
            all.push(Counted { source, table, chain, text, packets: packets(counter) });
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
        let drops = words.iter().any(|word| matches!(*word, "drop" | "reject"));
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
        let before = iptables(Source::Iptables, SAVED);
        assert_eq!(before.len(), 2);
        let after = iptables(Source::Iptables, &SAVED.replace("[2:168]", "[3:252]"));
        let rule = has_counted(&before, &after).unwrap();
        assert_eq!((&*rule.table, &*rule.chain), ("raw", "PREROUTING"));
        assert_eq!(rule.mend(), "iptables -t raw -D PREROUTING -s 10.0.0.11/32 -j DROP");
        let after = iptables(Source::Iptables, &SAVED.replace("[5:420]", "[6:504]"));
        assert_eq!(has_counted(&before, &after).unwrap().mend(), "iptables -t filter -P FORWARD ACCEPT");
        assert_eq!(has_counted(&before, &before), None);
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
