//! `nft list ruleset`

use std::ops::Range;

use super::{
    parts, statement,
    token::{END, Token, end_of_block, split},
};
use crate::import::{
    ImportError,
    flatten::DEPTH,
    line::{Line, printable},
    names,
    ruleset::{Chain, Rule, Ruleset},
};

const FAMILIES: [&str; 6] = ["ip", "ip6", "inet", "arp", "bridge", "netdev"];

/// Whether a text is in the form of nftables.
pub fn is_it(text: &str) -> bool {
    let tokens = split(text);
    let word = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    (0..tokens.len()).filter(|at| word(*at) == "table").any(|at| {
        let first = at == 0 || matches!(word(at - 1), END | ";" | "}");
        let opened = word(at + 2) == "{" || (FAMILIES.contains(&word(at + 1)) && word(at + 3) == "{");
        first && opened
    })
}

pub fn parse(text: &str) -> Result<Ruleset, ImportError> {
    let (tokens, lines) = (&split(text)[..], text.lines().collect());
    let mut reader = Reader { tokens, lines, at: 0, rules: 0, anonymous: Vec::new(), depth: 0 };
    let mut ruleset = Ruleset::default();
    while let Some(token) = reader.word() {
        match token.text.as_str() {
            "table" => reader.table(&mut ruleset)?,
            "flush" => {
                let words = reader.statement();
                match words.first().map(|word| word.text.as_str()) {
                    Some("ruleset") if words.len() == 1 => ruleset.tables.clear(),
                    // It is for what the host had before.
                    _ if ruleset.tables.is_empty() => {}
                    _ => return Err(odd(token.line, "flush")),
                }
            }
            other => return Err(odd(token.line, other)),
        }
    }
    Ok(ruleset)
}

fn odd(line: usize, text: &str) -> ImportError {
    ImportError::Nft { line, what: format!("\"{}\"", printable(text)) }
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    lines: Vec<&'a str>,
    rules: usize,
    /// Chains without a name, by the name that they get here.
    anonymous: Vec<(String, Chain)>,
    /// How many of them the one that is read stands in.
    depth: usize,
}

impl<'a> Reader<'a> {
    /// The next word, past ends of lines.
    fn word(&mut self) -> Option<&'a Token> {
        loop {
            let token = self.tokens.get(self.at)?;
            self.at += 1;
            if !token.remark && !matches!(token.mark(), END | ";") {
                return Some(token);
            }
        }
    }

    fn need(&mut self) -> Result<&'a Token, ImportError> {
        self.word().ok_or_else(|| self.over())
    }

    fn over(&self) -> ImportError {
        odd(self.lines.len(), "it ends in the middle")
    }

    fn open(&mut self) -> Result<(), ImportError> {
        let token = self.need()?;
        if token.text == "{" { Ok(()) } else { Err(odd(token.line, &token.text)) }
    }

    /// All up to the end of a statement, without what is before.
    fn statement(&mut self) -> Vec<Token> {
        let mut depth = 0_usize;
        let mut words = Vec::new();
        while let Some(token) = self.tokens.get(self.at) {
            match token.mark() {
                "{" => depth += 1,
                "}" if depth == 0 => break,
                "}" => depth -= 1,
                END | ";" if depth == 0 => break,
                _ => {}
            }
            if token.text != END {
                words.push(token.clone());
            }
            self.at += 1;
        }
        words
    }

    fn skip_block(&mut self) -> Result<(), ImportError> {
        let end = end_of_block(&self.tokens[self.at..]).ok_or_else(|| self.over())?;
        self.at += end + 1;
        Ok(())
    }

    fn table(&mut self, ruleset: &mut Ruleset) -> Result<(), ImportError> {
        let first = &self.need()?.text;
        // Without a family it is IPv4's.
        let named = self.tokens.get(self.at).is_some_and(|token| token.text == "{");
        let (family, name) = if named { ("ip", first) } else { (first.as_str(), &self.need()?.text) };
        if !parts::is_ipv4(family) {
            parts::remark_foreign(ruleset, family, name);
            return self.skip_block();
        }
        self.open()?;
        parts::table(ruleset, family, name);
        let mut dormant = false;
        loop {
            let token = self.need()?;
            match token.text.as_str() {
                "}" => break,
                "chain" => {
                    let chain_name = self.need()?.text.clone();
                    self.open()?;
                    let chain = self.chain()?;
                    let chains = &mut parts::table(ruleset, family, name).chains;
                    // The same chain may be written in several parts.
                    let whole = chains.entry(chain_name).or_default();
                    whole.base = chain.base.or(whole.base.take());
                    whole.rules.extend(chain.rules);
                    chains.extend(self.anonymous.drain(..));
                }
                "flags" => dormant |= self.statement().iter().any(|word| word.text == "dormant"),
                "comment" => {
                    self.statement();
                }
                "set" | "map" | "flowtable" | "counter" | "quota" | "limit" | "secmark" | "synproxy"
                | "tunnel" => {
                    self.need()?;
                    self.skip_block()?;
                }
                // ct helper, ct timeout, ct expectation
                "ct" => {
                    self.need()?;
                    self.need()?;
                    self.skip_block()?;
                }
                other => return Err(odd(token.line, other)),
            }
        }
        if dormant {
            parts::dormant(ruleset, family, name);
        }
        Ok(())
    }

    fn chain(&mut self) -> Result<Chain, ImportError> {
        let mut chain = Chain::default();
        loop {
            let token = self.need()?;
            if token.text == "}" {
                return Ok(chain);
            }
            self.at -= 1;
            let start = self.at;
            let words = self.statement();
            let text = |at: usize| words.get(at).map_or("", |word| word.text.as_str());
            match text(0) {
                "type" => {
                    let at = words.iter().position(|word| word.text == "hook");
                    let hook = at.map_or("", |at| text(at + 1));
                    chain.base = parts::base(text(1), hook, priority(&words)?);
                    if let Some(base) = &mut chain.base {
                        base.line = self.line(token.line);
                    }
                }
                "policy" => {
                    if let Some(base) = &mut chain.base {
                        base.policy = parts::policy(text(1));
                    }
                }
                "comment" => {}
                _ => {
                    let line = self.line(token.line);
                    let words = match block(&self.tokens[start..self.at]) {
                        Some(block) => self.without_block(start, block)?,
                        None => words,
                    };
                    chain.rules.push(Rule { line, ..statement::rule(&words) });
                }
            }
        }
    }

    /// A rule with `jump { … }`: the name of a chain takes the place of what is in braces.
    fn without_block(&mut self, start: usize, block: Range<usize>) -> Result<Vec<Token>, ImportError> {
        let opening = &self.tokens[start + block.start];
        if self.depth == DEPTH {
            let what = format!("its chains are more than {DEPTH} deep");
            return Err(ImportError::Nft { line: opening.line, what });
        }
        let end = std::mem::replace(&mut self.at, start + block.start + 1);
        self.depth += 1;
        let chain = self.chain()?;
        self.depth -= 1;
        let name = format!("{{ of line {} }} {}", opening.line, self.anonymous.len());
        let mut words = self.tokens[start..end].to_vec();
        words.splice(block, [Token { text: name.clone(), ..opening.clone() }]);
        words.retain(|word| word.text != END);
        self.anonymous.push((name, chain));
        self.at = end;
        Ok(words)
    }

    fn line(&mut self, number: usize) -> Line {
        self.rules += 1;
        let text = self.lines.get(number - 1).map_or("", |line| line.trim());
        Line { id: self.rules, number, text: printable(text) }
    }
}

/// Where in a rule the braces of a chain without a name are.
fn block(tokens: &[Token]) -> Option<Range<usize>> {
    let leads = |pair: &[Token]| matches!(pair[0].mark(), "jump" | "goto") && pair[1].mark() == "{";
    let first = tokens.windows(2).position(leads)? + 1;
    let end = end_of_block(&tokens[first..])?;
    Some(first..first + end + 1)
}

const PRIORITIES: &str = "raw/-300 mangle/-150 dstnat/-100 filter/0 security/50 srcnat/100";

/// `priority srcnat`, `priority dstnat + 10`, `priority -100`
fn priority(words: &[Token]) -> Result<i64, ImportError> {
    let mut parts = words.iter().skip_while(|word| word.text != "priority").skip(1);
    let Some(first) = parts.next() else { return Ok(0) };
    let number = || first.text.parse().ok();
    let Some(named) = names::lookup::<i64>(PRIORITIES, &first.text).or_else(number) else {
        return Err(odd(first.line, &first.text));
    };
    let (sign, more) = (parts.next().map(|sign| sign.text.as_str()), parts.next());
    let more: i64 = more.and_then(|more| more.text.parse().ok()).unwrap_or_default();
    Ok(match sign {
        Some("-") => named - more,
        Some("+") => named + more,
        _ => named,
    })
}
