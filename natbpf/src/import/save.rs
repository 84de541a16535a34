//! The text of `iptables-save`: tables, chains and their lines.

use std::collections::BTreeMap;

/// A line that appends a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// From 1.
    pub number: usize,
    /// As it stands there, without counters in front.
    pub text: &'a str,
    /// What follows the name of the chain.
    pub words: Vec<String>,
}

/// The nat table, and what else there is.
#[derive(Debug, Default)]
pub struct Save<'a> {
    /// Every chain of the nat table by name, also those without a rule.
    pub chains: BTreeMap<&'a str, Vec<Line<'a>>>,
    pub has_nat: bool,
    /// Rules of other tables, by the table's name: first line and how many.
    pub others: BTreeMap<&'a str, (usize, usize)>,
    /// Lines of the nat table that make no sense.
    pub odd: Vec<(usize, &'a str)>,
}

impl<'a> Save<'a> {
    pub fn parse(text: &'a str) -> Self {
        let mut save = Self::default();
        let mut table = "";
        for (number, line) in (1..).zip(text.lines()) {
            let line = without_counters(line.trim());
            if line.is_empty() || line.starts_with('#') || line == "COMMIT" {
                continue;
            }
            if let Some(name) = line.strip_prefix('*') {
                table = name;
                save.has_nat |= table == "nat";
            } else if table == "nat" {
                save.nat_line(number, line);
            } else if line.starts_with("-A ") {
                save.others.entry(table).or_insert((number, 0)).1 += 1;
            }
        }
        save
    }

    fn nat_line(&mut self, number: usize, text: &'a str) {
        if let Some(chain) = text.strip_prefix(':') {
            self.chains.entry(chain.split(' ').next().unwrap_or_default()).or_default();
            return;
        }
        let rule = text.strip_prefix("-A ").map(|rest| rest.split_once(' ').unwrap_or((rest, "")));
        match rule.and_then(|(chain, rest)| Some((chain, words(rest)?))) {
            Some((chain, words)) => self.chains.entry(chain).or_default().push(Line { number, text, words }),
            None => self.odd.push((number, text)),
        }
    }
}

/// `iptables-save -c` writes packets and bytes in front: `[12:3456]`.
fn without_counters(line: &str) -> &str {
    match line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, rest)) => rest,
        None => line,
    }
}

/// Words as iptables quotes them; `None` if a quotation does not end.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let mut word = String::new();
        let mut quoted = false;
        let mut end = rest.len();
        let mut characters = rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => quoted = !quoted,
                '\\' if quoted => word.push(characters.next()?.1),
                ' ' if !quoted => {
                    end = at;
                    break;
                }
                other => word.push(other),
            }
        }
        if quoted {
            return None;
        }
        words.push(word);
        rest = rest[end..].trim_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_chains_and_lines() {
        let text = "# Generated\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n*nat\n\
                    :POSTROUTING ACCEPT [0:0]\n:EMPTY - [0:0]\n[3:252] -A POSTROUTING -o eth0 -j MASQUERADE\n\
                    what is this?\nCOMMIT\n";
        let save = Save::parse(text);
        assert!(save.has_nat);
        let line = &save.chains["POSTROUTING"][0];
        assert_eq!((line.number, line.text), (9, "-A POSTROUTING -o eth0 -j MASQUERADE"));
        assert_eq!(line.words, ["-o", "eth0", "-j", "MASQUERADE"]);
        assert!(save.chains["EMPTY"].is_empty());
        assert_eq!(save.others, BTreeMap::from([("filter", (4, 1))]));
        assert_eq!(save.odd, [(10, "what is this?")]);
    }

    #[test]
    fn quotations() {
        let quoted = words(r#"-m comment --comment "a \"b\" c" -j X"#);
        assert_eq!(
            quoted.as_deref(),
            Some(&["-m", "comment", "--comment", "a \"b\" c", "-j", "X"].map(str::to_owned)[..])
        );
        assert_eq!(words("--comment \"without an end"), None);
        assert_eq!(words("  "), Some(vec![]));
    }
}
