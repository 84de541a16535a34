//! The statements of a rule, as `nft list ruleset` writes them.

use super::{
    condition::Field,
    nat, parts,
    token::{Token, end_of_block},
};
use crate::import::{line::printable, matching::Match, names, ruleset::Rule};

/// The words of a rule, one statement after the other.
struct Words<'a> {
    left: &'a [Token],
    /// Something was not understood, so what follows may belong to it: a verdict is all that is looked for.
    blind: bool,
}

impl<'a> Words<'a> {
    fn peek(&self) -> &'a str {
        self.left.first().map_or("", |word| &word.text)
    }

    fn next(&mut self) -> &'a str {
        let word = self.peek();
        self.left = self.left.get(1..).unwrap_or_default();
        word
    }

    /// Whether the next word is this one, and not a text.
    fn is(&self, mark: &str) -> bool {
        self.left.first().is_some_and(|word| !word.quoted && word.text == mark)
    }

    /// The same, and goes on behind it.
    fn take(&mut self, mark: &str) -> bool {
        let is = self.is(mark);
        if is {
            self.next();
        }
        is
    }

    fn is_remark(&self) -> bool {
        self.left.first().is_some_and(|word| word.remark)
    }

    fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// One value, several after each other with commas, or a set.
    fn values(&mut self) -> Vec<String> {
        if !self.take("{") {
            let mut values = vec![self.next().to_owned()];
            while self.take(",") {
                values.push(self.next().to_owned());
            }
            return values;
        }
        let mut values = Vec::new();
        while !self.is_over() && !self.take("}") {
            let mut value = String::new();
            while !self.is_over() && !self.is(",") && !self.is("}") {
                // What belongs together with a blank, as `80 : accept`, is no value that is known.
                value.push_str(self.next());
            }
            values.push(value);
            self.take(",");
        }
        values
    }

    /// Leaves out a word, or a block in braces.
    fn skip(&mut self) {
        let end = if self.is("{") { end_of_block(self.left).unwrap_or(self.left.len()) } else { 0 };
        self.left = self.left.get(end + 1..).unwrap_or_default();
    }

    /// Leaves out options with a value each.
    fn skip_options(&mut self, names: &[&str]) {
        while names.contains(&self.peek()) {
            self.next();
            self.next();
        }
    }
}

pub fn rule(tokens: &[Token]) -> Rule {
    let mut rule = Rule { pieces: vec![Match::default()], ..Rule::default() };
    let mut words = Words { left: tokens, blind: false };
    while let Some(first) = words.left.first() {
        statement(&mut rule, &mut words, first);
    }
    rule
}

fn statement(rule: &mut Rule, words: &mut Words<'_>, first: &Token) {
    if first.remark {
        words.left = &[];
        if !parts::decides(rule) {
            foreign(rule, &format!("# {}", first.text));
        }
        return;
    }
    if words.is("{") {
        return words.skip();
    }
    let word = words.next();
    if first.quoted {
        return unknown(rule, words, word);
    }
    match word {
        "ip" | "ip6" | "tcp" | "udp" | "th" | "meta" | "ct" | "icmpv6" => {
            let key = words.next();
            condition(rule, words, &Field { of: word, key });
        }
        "fib" => {
            let mut key = words.next().to_owned();
            // Several things may be looked up at once: `saddr . iif oif`.
            while words.peek() == "." {
                words.next();
                key = format!("{key} . {}", words.next());
            }
            let key = format!("{key} {}", words.next());
            condition(rule, words, &Field { of: word, key: &key });
        }
        "iifname" | "oifname" | "iif" | "oif" => condition(rule, words, &Field { of: "meta", key: word }),
        "counter" => words.skip_options(&["packets", "bytes", "name"]),
        "comment" => {
            words.next();
        }
        "log" => {
            words.skip_options(&["prefix", "group", "level", "flags", "snaplen", "queue-threshold"]);
            parts::pass(rule, "log");
        }
        "masquerade" | "snat" | "dnat" => translation(rule, words, word),
        "jump" | "goto" => {
            parts::verdict(rule, word, words.next());
        }
        "xt" => {
            let kind = words.next();
            foreign(rule, &format!("the {kind} {} of iptables", words.next()));
        }
        "vmap" => {
            rule.do_not_know("natbpf does not know vmap");
            parts::other(rule, word);
            words.skip();
        }
        _ if parts::verdict(rule, word, "") => {
            // What a reject answers, or where a redirect leads, is of no concern. After a notrack the rule goes on.
            while word != "notrack" && !words.is_over() && !words.is_remark() && words.peek() != "comment" {
                words.next();
            }
        }
        _ => unknown(rule, words, word),
    }
}

/// What is no statement that is known.
fn unknown(rule: &mut Rule, words: &mut Words<'_>, word: &str) {
    parts::unknown(rule, word, !words.blind);
    words.blind = true;
}

/// What iptables put there.
fn foreign(rule: &mut Rule, name: &str) {
    rule.do_not_know(format!("natbpf does not know {}; give what iptables-save writes", printable(name)));
    parts::may_decide(rule, name);
}

fn condition(rule: &mut Rule, words: &mut Words<'_>, field: &Field<'_>) {
    let mut negated = false;
    match words.peek() {
        "set" => {
            words.next();
            words.next();
            return parts::pass(rule, &field.to_string());
        }
        "!=" => {
            words.next();
            negated = true;
        }
        "==" => {
            words.next();
        }
        "." | "&" | "|" | "^" | "<<" | ">>" | "<" | ">" | "<=" | ">=" | "vmap" => {
            words.blind = true;
            return rule.do_not_know(format!("natbpf does not know the match {field} {}", words.peek()));
        }
        _ => {}
    }
    let values = words.values();
    if words.blind {
        // It may be half of a match.
        return;
    }
    // `tcp option maxseg size 1`: more than the words of any match that is known.
    words.blind = matches!(field.key, "option" | "exthdr");
    parts::add(rule, field, negated, &values);
}

fn translation(rule: &mut Rule, words: &mut Words<'_>, name: &str) {
    if words.peek() == "ip6" {
        parts::of_ipv6(rule);
    }
    if matches!(words.peek(), "ip" | "ip6") {
        words.next();
    }
    let (mut address, mut ports) = (None, None);
    if words.peek() == "to" {
        words.next();
        let (before, after) = names::cut(words.next(), ':');
        (address, ports) = (Some(before).filter(|before| !before.is_empty()), after);
    }
    let mut flags = Vec::new();
    while !words.is_over() && !words.is_remark() && !matches!(words.peek(), "comment" | "counter") {
        let flag = words.next();
        if flag != "," {
            flags.push(flag);
        }
    }
    let verdict = nat::verdict(name, address, ports, &flags);
    nat::finish(rule, name, verdict, || nat::why_not(name, address, ports, flags.contains(&"map")));
}
