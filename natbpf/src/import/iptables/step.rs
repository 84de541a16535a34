//! A line as the step that it is: `-A CHAIN` and a rule, its options in any order.

use super::{
    family::Family,
    words::{Words, is_before_text},
};
use crate::import::{names, ruleset::Policy};

/// What a line does to a table.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Append { chain: String, rule: Vec<String> },
    Insert { chain: String, at: usize, rule: Vec<String> },
    Replace { chain: String, at: usize, rule: Vec<String> },
    Delete { chain: String, rule: Vec<String> },
    Declare { chain: String, policy: Option<Policy> },
    Flush { chain: Option<String> },
    Nothing,
}

/// A step, and what else its line says that is no part of the rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Order {
    pub step: Step,
    /// `-t`
    pub table: Option<String>,
    /// `-4`, `-6`
    pub family: Option<Family>,
}

/// Long options with the letter that each stands for. Their beginnings are not taken: those of matches are alike.
const LONG: &str = "--append/A --check/C --delete/D --insert/I --replace/R --list/L --list-rules/S --flush/F \
                    --zero/Z --new-chain/N --new/N --delete-chain/X --policy/P --version/V --help/h --table/t \
                    --tabl/t --tab/t --ta/t --wait/w --wait-interval/W --modprobe/M --verbose/v --numeric/n \
                    --exact/x --ipv4/4 --ipv6/6";

impl Order {
    /// `None` if it is no line that iptables takes, or one of which natbpf does not know what it does.
    pub fn parse(words: &[String]) -> Option<Self> {
        if let Some(chain) = words.first().and_then(|first| first.strip_prefix(':')) {
            let policy = words.get(1).and_then(|policy| policy_of(policy));
            let step = Step::Declare { chain: chain.to_owned(), policy };
            return Some(Self { step, table: None, family: None });
        }
        let mut parser = Parser { words: Words::new(words), ..Parser::default() };
        while let Some(word) = parser.words.next() {
            parser.word(word)?;
        }
        let Parser { rule, command, table, family, .. } = parser;
        let (letter, chain, at) = command?;
        let step = match letter {
            'A' => Step::Append { chain: chain?, rule },
            'I' => Step::Insert { chain: chain?, at: at.unwrap_or(1), rule },
            'R' => Step::Replace { chain: chain?, at: at?, rule },
            'D' => match at {
                Some(at) => Step::Delete { chain: chain?, rule: vec![at.to_string()] },
                None => Step::Delete { chain: chain?, rule },
            },
            'N' => Step::Declare { chain: chain?, policy: None },
            'P' => Step::Declare { chain: chain?, policy: Some(policy_of(rule.first()?)?) },
            'F' => Step::Flush { chain },
            _ => Step::Nothing,
        };
        Some(Self { step, table, family })
    }
}

#[derive(Default)]
struct Parser<'a> {
    words: Words<'a>,
    rule: Vec<String>,
    /// The letter of the step, the chain, and a place in it.
    command: Option<(char, Option<String>, Option<usize>)>,
    table: Option<String>,
    family: Option<Family>,
}

impl<'a> Parser<'a> {
    fn word(&mut self, word: &'a str) -> Option<()> {
        if word.starts_with("--") {
            let (name, attached) = names::cut(word, '=');
            if let Some(letter) = names::lookup(LONG, name) {
                return self.option(letter, attached);
            }
            self.rule.push(word.to_owned());
            if attached.is_none() && is_before_text(name) {
                self.rule.extend(self.words.next().map(str::to_owned));
            }
            return Some(());
        }
        // Several letters may share a dash, and the last of them have its value behind it: `-nvL`, `-tnat`.
        let mut letters = word.strip_prefix('-').unwrap_or_default();
        if !letters
            .chars()
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || matches!(first, '4' | '6'))
        {
            self.rule.push(word.to_owned());
            return Some(());
        }
        while let Some(letter) = letters.chars().next() {
            letters = &letters[letter.len_utf8()..];
            if "46vnxf".contains(letter) {
                self.option(letter, None)?;
                continue;
            }
            return self.option(letter, (!letters.is_empty()).then_some(letters));
        }
        Some(())
    }

    fn option(&mut self, letter: char, attached: Option<&'a str>) -> Option<()> {
        match letter {
            '4' => self.family = Some(Family::V4),
            '6' => self.family = Some(Family::V6),
            'v' | 'n' | 'x' => {}
            't' => self.table = Some(attached.or_else(|| self.words.next())?.to_owned()),
            'M' => {
                attached.or_else(|| self.words.next())?;
            }
            'w' | 'W' => {
                attached.or_else(|| self.words.value());
            }
            'A' | 'I' | 'R' | 'D' | 'N' | 'P' | 'C' | 'F' | 'X' | 'Z' | 'L' | 'S' | 'V' | 'h' => {
                // `-L -Z` is one command, and the only one of two steps.
                let shows = |letter: char| "LSZ".contains(letter);
                if self.command.as_ref().is_some_and(|(other, ..)| !shows(*other) || !shows(letter)) {
                    return None;
                }
                let chain = attached.or_else(|| self.words.value()).map(str::to_owned);
                let at =
                    self.words.peek().and_then(|word| word.parse().ok()).filter(|_| "IRD".contains(letter));
                if at.is_some() {
                    self.words.next();
                }
                self.command = Some((letter, chain, at));
            }
            _ => {
                let (takes_value, may_be_negated) = ("spdiojgm".contains(letter), "spdio".contains(letter));
                self.rule.push(format!("-{letter}{}", attached.unwrap_or_default()));
                if takes_value && attached.is_none() {
                    if may_be_negated && self.words.peek() == Some("!") {
                        self.rule.extend(self.words.next().map(str::to_owned));
                    }
                    self.rule.extend(self.words.next().map(str::to_owned));
                }
            }
        }
        Some(())
    }
}

fn policy_of(word: &str) -> Option<Policy> {
    match word {
        "ACCEPT" => Some(Policy::Accept),
        "DROP" => Some(Policy::Drop),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(text: &str) -> Option<Order> {
        Order::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_in_any_order() {
        let plain = order("-t nat -A POSTROUTING -o eth0 -j ACCEPT");
        assert_eq!(plain.as_ref().and_then(|order| order.table.as_deref()), Some("nat"));
        for same in [
            "-tnat -A POSTROUTING -o eth0 -j ACCEPT",
            "-A POSTROUTING -tnat -o eth0 -j ACCEPT",
            "-A POSTROUTING -o eth0 --table=nat -j ACCEPT",
            "--wait=5 -vt nat -APOSTROUTING -o eth0 -j ACCEPT",
            "-w 5 -W 100000 --ta nat -o eth0 --append POSTROUTING -j ACCEPT -w",
        ] {
            assert_eq!(order(same), plain, "{same}");
        }
        let four = order("-4 -A POSTROUTING -j ACCEPT").unwrap();
        assert_eq!((four.family, four.table), (Some(Family::V4), None));
        assert_eq!(order("-A X -6 -j ACCEPT").unwrap().family, Some(Family::V6));
        let text = order("-A X -m comment --comment -tnat -s ! -j").unwrap();
        assert_eq!((text.table, text.family), (None, None));
        assert_eq!(order("-nvL -t nat -Z").unwrap().step, Step::Nothing);
        let number = Step::Delete { chain: "X".to_owned(), rule: vec!["2".to_owned()] };
        assert_eq!(order("-D X 2").unwrap().step, number);
    }

    #[test]
    fn what_is_no_step() {
        for text in ["-j ACCEPT", "-A", "-E A B", "-A X -D Y", "-P INPUT NONE", "what is this", "-t"] {
            assert_eq!(order(text), None, "{text}");
        }
    }
}
