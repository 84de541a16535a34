//! Rules that drop, as programs list them with their counters.

use crate::facts::Source;

/// Families of nftables whose rules are not for packets of the other one.
const OTHERS: [&str; 2] = ["ip6 ", "ip "];
/// Families whose hooks are those of devices and bridges, whatever routes do.
const BELOW: [&str; 2] = ["bridge ", "netdev "];

/// Chains of iptables that packets meet by themselves.
const BASE_CHAINS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/// A rule that drops, with what it has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    source: Source,
    /// Of iptables: it is ip6tables.
    is_v6: bool,
    /// Of iptables its name; of nftables `FAMILY NAME`.
    pub table: String,
    pub chain: String,
    /// Where packets meet the chain, as in `forward`; empty: other chains lead there.
    pub hook: String,
    /// As it is printed, without the counter.
    pub text: String,
    /// `None`: it does not count what it drops.
    pub packets: Option<u64>,
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
        let Self { table, chain, text, source, .. } = self;
        let program = self.shown_by();
        match source {
            Source::Nftables => match text.rsplit_once("# handle ") {
                Some((_, handle)) => format!("nft delete rule {table} {chain} handle {handle}"),
                None => format!("nft chain {table} {chain} {{ policy accept ; }}"),
            },
            Source::Iptables | Source::Legacy => match text.strip_prefix("-A ") {
                Some(rule) => format!("{program} -t {table} -D {rule}"),
                None => format!("{program} -t {table} -P {chain} ACCEPT"),
            },
        }
    }

    /// What lists it with its counter.
    pub fn listed(&self) -> String {
        match self.source {
            Source::Nftables => "nft -a list ruleset".to_owned(),
            Source::Iptables | Source::Legacy => format!("{} -t {} -vnL", self.shown_by(), self.table),
        }
    }

    /// Whether this is its text, with or without what it has counted.
    pub fn is_printed_as(&self, text: &str) -> bool {
        without_counter(&words(text)).0 == self.text
    }

    /// Whether it is the same, whatever it has counted.
    pub fn is(&self, other: &Self) -> bool {
        (self.source, &self.table, &self.chain, &self.text)
            == (other.source, &other.table, &other.chain, &other.text)
    }
}

/// Those of a family, of all programs' lists. What nft lists of iptables' tables is there already.
pub fn read<'a>(lists: impl IntoIterator<Item = (Source, &'a str)>, is_v6: bool) -> Vec<Counted> {
    let mut all = Vec::new();
    let mut tables = Vec::new();
    for (source, text) in lists {
        if source == Source::Nftables {
            let mut rules = nftables(text);
            rules.retain(|rule| !rule.table.starts_with(OTHERS[usize::from(is_v6)]));
            rules.retain(|rule| !tables.contains(&rule.table));
            all.extend(rules);
            continue;
        }
        all.extend(iptables((source, is_v6), text));
        if source == Source::Iptables {
            let family = if is_v6 { "ip6" } else { "ip" };
            let names = text.lines().filter_map(|line| line.strip_prefix('*'));
            tables.extend(names.map(|name| format!("{family} {name}")));
        }
    }
    all
}

/// What is quoted is one word, whatever is in it.
fn words(line: &str) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let ends = |letter: char| {
        let is_plain = !std::mem::take(&mut escaped);
        match letter {
            '\\' if is_plain => escaped = true,
            '"' if is_plain => quoted = !quoted,
            _ => {}
        }
        !quoted && letter.is_whitespace()
    };
    line.split(ends).filter(|word| !word.is_empty()).collect()
}

/// `*TABLE`, `:CHAIN POLICY [PACKETS:BYTES]`, `[PACKETS:BYTES] -A CHAIN …`.
fn iptables((source, is_v6): (Source, bool), text: &str) -> Vec<Counted> {
    let mut table = String::new();
    let mut all = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('*') {
            name.clone_into(&mut table);
            continue;
        }
        let words = words(line);
        let (counter, chain, text) = match &words[..] {
            [policy, "DROP", counter] if policy.starts_with(':') => {
                (*counter, &policy[1..], format!("{policy} DROP"))
            }
            [counter, rule @ ..] if counter.starts_with('[') => match rule {
                ["-A", chain, ..] if drops_by_target(rule) => (*counter, *chain, rule.join(" ")),
                _ => continue,
            },
            // Without counters.
            rule @ ["-A", chain, ..] if drops_by_target(rule) => ("", *chain, rule.join(" ")),
            _ => continue,
        };
        let hook = if BASE_CHAINS.contains(&chain) { chain } else { "" };
        all.push(Counted {
            source,
            is_v6,
            table: table.clone(),
            chain: chain.to_owned(),
            hook: hook.to_lowercase(),
            text,
            packets: packets(counter),
        });
    }
    all
}

fn drops_by_target(rule: &[&str]) -> bool {
    rule.windows(2).any(|pair| matches!(pair, ["-j", "DROP" | "REJECT"]))
}

/// `[PACKETS:BYTES]`
fn packets(counter: &str) -> Option<u64> {
    counter.strip_prefix('[')?.split(':').next()?.parse().ok()
}

/// `table FAMILY NAME {`, `chain NAME {`, and rules with `counter packets N bytes M`.
fn nftables(text: &str) -> Vec<Counted> {
    let (mut table, mut chain, mut hook) = (String::new(), String::new(), String::new());
    let mut all = Vec::new();
    for line in text.lines() {
        let words = words(line);
        match words[..] {
            ["table", family, name, ..] => {
                table = format!("{family} {name}");
                continue;
            }
            ["chain", name, ..] => {
                name.clone_into(&mut chain);
                hook.clear();
                continue;
            }
            ["type", _, "hook", name, ..] if !BELOW.iter().any(|family| table.starts_with(family)) => {
                name.clone_into(&mut hook);
            }
            _ => {}
        }
        if !drops_by_verdict(&words) {
            continue;
        }
        let (text, packets) = without_counter(&words);
        all.push(Counted {
            source: Source::Nftables,
            is_v6: false,
            table: table.clone(),
            chain: chain.clone(),
            hook: hook.clone(),
            text,
            packets,
        });
    }
    all
}

/// The text of a rule of nftables, and how many packets it has dropped if it counts them.
fn without_counter(words: &[&str]) -> (String, Option<u64>) {
    let Some(at) = words.windows(2).position(|pair| pair == ["counter", "packets"]) else {
        return (words.join(" "), None);
    };
    // `counter packets N bytes M`
    let rest = words.get(at + 5..).unwrap_or_default();
    // With a match behind it, it counts others as well.
    let is_of_verdict = matches!(rest.first(), Some(&("drop" | "reject" | "log")));
    let packets = words.get(at + 2).filter(|_| is_of_verdict).and_then(|number| number.parse().ok());
    ([&words[..=at], rest].concat().join(" "), packets)
}

fn drops_by_verdict(words: &[&str]) -> bool {
    words.iter().enumerate().any(|(at, word)| match (at.checked_sub(1).map(|before| words[before]), *word) {
        // A policy ends with a semicolon.
        (Some("policy"), word) => word == "drop;",
        // Names that others have given.
        (Some("set" | "map" | "jump" | "goto"), _) => false,
        (_, word) => matches!(word, "drop" | "reject"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "table inet guard { # handle 3\n\tchain forward { # handle 1\n\t\t\
                          type filter hook forward priority filter; policy accept;\n\t\t\
                          ip saddr 10.0.0.11 counter packets 4 bytes 336 drop # handle 2\n\t}\n}\n";

    fn rules_of(line: &str) -> Vec<Counted> {
        iptables((Source::Iptables, false), line)
    }

    fn listed(line: &str) -> Vec<Counted> {
        nftables(&format!("table inet guard {{\n\tchain forward {{\n\t\t{line}\n\t}}\n}}\n"))
    }

    #[test]
    fn a_target_is_a_whole_word() {
        assert_eq!(rules_of("[1:2] -A FORWARD -s 10.0.0.11/32 -j DROP").len(), 1);
        assert_eq!(rules_of("[1:2] -A FORWARD -j REJECT --reject-with tcp-reset").len(), 1);
        for other in
            ["-A FORWARD -j DROP_INVALID", "-A FORWARD -m comment --comment \"-j DROP \\\" x\" -j ACCEPT"]
        {
            assert_eq!(rules_of(&format!("[1:2] {other}")), [], "{other}");
        }
    }

    #[test]
    fn a_verdict_is_a_word_of_the_rule() {
        for drops in ["drop # handle 4", "meta l4proto tcp reject with tcp reset # handle 4", "policy drop;"]
        {
            assert_eq!(listed(drops).len(), 1, "{drops}");
        }
        for other in ["accept comment \"no drop here\" # handle 4", "jump drop # handle 4", "policy accept;"]
        {
            assert_eq!(listed(other), [], "{other}");
        }
        assert_eq!(nftables("table ip drop {\n\tchain reject {\n\t}\n}\n"), []);
    }

    #[test]
    fn a_counter_before_a_match_counts_others_too() {
        assert_eq!(listed("counter packets 4 bytes 336 drop # handle 2")[0].packets, Some(4));
        assert_eq!(listed("counter packets 4 bytes 336 tcp dport 80 drop # handle 2")[0].packets, None);
        assert_eq!(listed("drop # handle 2")[0].packets, None);
    }

    #[test]
    fn rules_of_legacy_tables_are_taken_away_by_its_program() {
        let of = |is_v6| iptables((Source::Legacy, is_v6), "*filter\n[7:1] -A INPUT -j DROP\n")[0].mend();
        assert_eq!(of(false), "iptables-legacy -t filter -D INPUT -j DROP");
        assert_eq!(of(true), "ip6tables-legacy -t filter -D INPUT -j DROP");
    }

    #[test]
    fn rules_of_nftables_have_hooks_and_handles() {
        let rules = nftables(LISTED);
        assert_eq!((rules.len(), &*rules[0].hook), (1, "forward"));
        assert_eq!(rules[0].text, "ip saddr 10.0.0.11 counter drop # handle 2");
        assert_eq!(rules[0].mend(), "nft delete rule inet guard forward handle 2");
        assert_eq!(nftables(&LISTED.replace("inet", "bridge"))[0].hook, "");
    }

    #[test]
    fn rules_for_the_other_family_do_not_count() {
        let of = |table: &str| LISTED.replace("table inet", table);
        for (table, expected) in [("table inet", [1, 1]), ("table ip6", [0, 1]), ("table ip", [1, 0])] {
            let text = of(table);
            let count = |is_v6| read([(Source::Nftables, &*text)], is_v6).len();
            assert_eq!([count(false), count(true)], expected, "{table}");
        }
    }

    #[test]
    fn what_nft_lists_of_iptables_is_there_already() {
        let saved = "*filter\n:FORWARD ACCEPT [0:0]\n[2:168] -A FORWARD -j DROP\nCOMMIT\n";
        let text = LISTED.replace("inet guard", "ip filter");
        assert_eq!(read([(Source::Iptables, saved), (Source::Nftables, &*text)], false).len(), 1);
        assert_eq!(read([(Source::Iptables, saved), (Source::Nftables, &*text)], true).len(), 1);
    }
}
