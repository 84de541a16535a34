//! `nft list ruleset`

use super::{
    condition::Field,
    nat, parts,
    token::{END, Token, split},
};
use crate::import::{
    ImportError,
    flatten::DEPTH,
    line::{Line, printable},
    matching::Match,
    ruleset::{Chain, Rule, Ruleset},
    target::Target,
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
    let mut reader = Reader::new(split(text), text.lines().collect());
    let mut ruleset = Ruleset::default();
    while let Some(token) = reader.word() {
        match token.text.as_str() {
            "table" => reader.table(&mut ruleset)?,
            "flush" => {
                let words = reader.statement();
                match words.first().map(|word| word.text.as_str()) {
                    Some("ruleset") if words.len() == 1 => ruleset.tables.clear(),
                    // Of what was there before.
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
    tokens: Vec<Token>,
    at: usize,
    lines: Vec<&'a str>,
    rules: usize,
    /// Chains without a name, by the name that they get here.
    anonymous: Vec<(String, Chain)>,
    /// How many of them the one that is read stands in.
    depth: usize,
}

impl<'a> Reader<'a> {
    fn new(tokens: Vec<Token>, lines: Vec<&'a str>) -> Self {
        Self { tokens, at: 0, lines, rules: 0, anonymous: Vec::new(), depth: 0 }
    }

    /// The next word, past ends of lines.
    fn word(&mut self) -> Option<Token> {
        loop {
            let token = self.tokens.get(self.at)?.clone();
            self.at += 1;
            if token.text != END && !token.remark && (token.text != ";" || token.quoted) {
                return Some(token);
            }
        }
    }

    fn need(&mut self) -> Result<Token, ImportError> {
        let last = self.lines.len();
        self.word().ok_or_else(|| odd(last, "it ends in the middle"))
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
            match token.text.as_str() {
                _ if token.quoted || token.remark => {}
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
        let mut depth = 0_usize;
        loop {
            let token = self.need()?;
            match token.text.as_str() {
                _ if token.quoted => {}
                "{" => depth += 1,
                "}" if depth <= 1 => return Ok(()),
                "}" => depth -= 1,
                _ => {}
            }
        }
    }

    fn table(&mut self, ruleset: &mut Ruleset) -> Result<(), ImportError> {
        let first = self.need()?.text;
        // Without a family it is IPv4's.
        let named = self.tokens.get(self.at).is_some_and(|token| token.text == "{");
        let (family, name) = if named { ("ip".to_owned(), first) } else { (first, self.need()?.text) };
        if !parts::is_ipv4(&family) {
            parts::remark_foreign(ruleset, &family, &name);
            return self.skip_block();
        }
        self.open()?;
        parts::table(ruleset, &family, &name);
        let mut dormant = false;
        loop {
            let token = self.need()?;
            match token.text.as_str() {
                "}" => break,
                "chain" => {
                    let chain_name = self.need()?.text;
                    self.open()?;
                    let chain = self.chain()?;
                    let chains = &mut parts::table(ruleset, &family, &name).chains;
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
            parts::dormant(ruleset, &family, &name);
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
                    let mut rule = rule(&words);
                    rule.line = line;
                    chain.rules.push(rule);
                }
            }
        }
    }

    /// A rule with `jump { … }`: the name of a chain takes the place of what is in braces.
    fn without_block(
        &mut self,
        start: usize,
        block: std::ops::RangeInclusive<usize>,
    ) -> Result<Vec<Token>, ImportError> {
        let (first, last) = (start + block.start(), start + block.end());
        if self.depth == DEPTH {
            let (line, what) = (self.tokens[first].line, format!("its chains are more than {DEPTH} deep"));
            return Err(ImportError::Nft { line, what });
        }
        let end = std::mem::replace(&mut self.at, first + 1);
        self.depth += 1;
        let chain = self.chain()?;
        self.depth -= 1;
        let name = format!("{{ of line {} }}", self.tokens[first].line);
        let name = format!("{name} {}", self.anonymous.len());
        let mut words = self.tokens[start..end].to_vec();
        words.splice(
            first - start..=last - start,
            [Token { text: name.clone(), ..self.tokens[first].clone() }],
        );
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
fn block(tokens: &[Token]) -> Option<std::ops::RangeInclusive<usize>> {
    let word =
        |at: usize| tokens.get(at).filter(|word| !word.quoted && !word.remark).map_or("", |word| &word.text);
    let first = (1..tokens.len()).find(|at| word(*at) == "{" && matches!(word(*at - 1), "jump" | "goto"))?;
    let mut depth = 0_usize;
    for at in first..tokens.len() {
        match word(at) {
            "{" => depth += 1,
            "}" if depth == 1 => return Some(first..=at),
            "}" => depth -= 1,
            _ => {}
        }
    }
    None
}

/// `priority srcnat`, `priority dstnat + 10`, `priority -100`
fn priority(words: &[Token]) -> Result<i64, ImportError> {
    let mut parts = words.iter().skip_while(|word| word.text != "priority").skip(1);
    let Some(first) = parts.next() else { return Ok(0) };
    let named = match first.text.as_str() {
        "raw" => Some(-300),
        "mangle" => Some(-150),
        "dstnat" => Some(-100),
        "filter" => Some(0),
        "security" => Some(50),
        "srcnat" => Some(100),
        number => number.parse().ok(),
    };
    let Some(named) = named else { return Err(odd(first.line, &first.text)) };
    let (sign, more) = (parts.next().map(|sign| sign.text.as_str()), parts.next());
    let more: i64 = more.and_then(|more| more.text.parse().ok()).unwrap_or_default();
    Ok(match sign {
        Some("-") => named - more,
        Some("+") => named + more,
        _ => named,
    })
}

/// The words of a rule, one statement after the other.
struct Words<'a> {
    words: &'a [Token],
    at: usize,
    /// Something was not understood, so what follows may belong to it: a verdict is all that is looked for.
    blind: bool,
}

impl<'a> Words<'a> {
    fn peek(&self) -> &'a str {
        self.words.get(self.at).map_or("", |word| word.text.as_str())
    }

    fn next(&mut self) -> &'a str {
        let word = self.peek();
        self.at += 1;
        word
    }

    /// Whether the next word is this one, and not a text.
    fn is(&self, mark: &str) -> bool {
        self.words.get(self.at).is_some_and(|word| !word.quoted && word.text == mark)
    }

    fn is_remark(&self) -> bool {
        self.words.get(self.at).is_some_and(|word| word.remark)
    }

    fn is_over(&self) -> bool {
        self.at >= self.words.len()
    }

    /// One value, several after each other with commas, or a set.
    fn values(&mut self) -> Vec<String> {
        let mut values = Vec::new();
        if self.is("{") {
            self.next();
            while !self.is_over() && !self.is("}") {
                let mut value = String::new();
                while !self.is_over() && !self.is(",") && !self.is("}") {
                    // What belongs together with a blank, as `80 : accept`, is no value that is known.
                    value.push_str(self.next());
                }
                values.push(value);
                if self.is(",") {
                    self.next();
                }
            }
            self.next();
            return values;
        }
        values.push(self.next().to_owned());
        while self.is(",") {
            self.next();
            values.push(self.next().to_owned());
        }
        values
    }

    /// Leaves out a block in braces.
    fn skip(&mut self) {
        if !self.is("{") {
            self.next();
            return;
        }
        let mut depth = 0_usize;
        while !self.is_over() {
            let (opens, closes) = (self.is("{"), self.is("}"));
            self.next();
            depth = if closes { depth - 1 } else { depth + usize::from(opens) };
            if depth == 0 {
                return;
            }
        }
    }
}

fn rule(tokens: &[Token]) -> Rule {
    let mut rule = Rule { pieces: vec![Match::default()], ..Rule::default() };
    let mut words = Words { words: tokens, at: 0, blind: false };
    while !words.is_over() {
        statement(&mut rule, &mut words);
    }
    rule
}

fn statement(rule: &mut Rule, words: &mut Words<'_>) {
    if words.words[words.at].remark {
        let remark = words.next();
        words.at = words.words.len();
        if !parts::decides(rule) {
            foreign(rule, &format!("# {remark}"));
        }
        return;
    }
    let quoted = words.words[words.at].quoted;
    let word = words.next();
    if quoted {
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
        "counter" => {
            while matches!(words.peek(), "packets" | "bytes" | "name") {
                words.next();
                words.next();
            }
        }
        "comment" => {
            words.next();
        }
        "log" => {
            while matches!(
                words.peek(),
                "prefix" | "group" | "level" | "flags" | "snaplen" | "queue-threshold"
            ) {
                words.next();
                words.next();
            }
            pass(rule, "log");
        }
        "masquerade" | "snat" | "dnat" => translation(rule, words, word),
        "jump" | "goto" => {
            let chain = words.next();
            parts::verdict(rule, word, chain);
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
        "{" => {
            words.at -= 1;
            words.skip();
        }
        _ => unknown(rule, words, word),
    }
}

/// What is no statement that is known. It may be the verdict, unless one follows.
fn unknown(rule: &mut Rule, words: &mut Words<'_>, word: &str) {
    rule.do_not_know(format!("natbpf does not know {}", printable(word)));
    if !words.blind && rule.target == Target::None && !parts::passes(word) {
        parts::other(rule, word);
    }
    words.blind = true;
}

/// What iptables put there. It may be a target, unless one follows.
fn foreign(rule: &mut Rule, name: &str) {
    rule.do_not_know(format!("natbpf does not know {}; give what iptables-save writes", printable(name)));
    if rule.target == Target::None {
        parts::other(rule, name);
    }
}

fn pass(rule: &mut Rule, name: &str) {
    if rule.target == Target::None {
        rule.target = Target::Pass(name.to_owned());
    }
}

fn condition(rule: &mut Rule, words: &mut Words<'_>, field: &Field<'_>) {
    let mut negated = false;
    match words.peek() {
        "set" => {
            words.next();
            words.next();
            return pass(rule, &field.to_string());
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
    let mut address = None;
    let mut ports = None;
    if words.peek() == "ip6" {
        parts::of_ipv6(rule);
    }
    if matches!(words.peek(), "ip" | "ip6") {
        words.next();
    }
    if words.peek() == "to" {
        words.next();
        let to = words.next();
        let (before, after) = to.split_once(':').map_or((to, None), |(before, after)| (before, Some(after)));
        address = (!before.is_empty()).then_some(before);
        ports = after;
    }
    let mut flags = Vec::new();
    while !words.is_over() && !words.is_remark() && !matches!(words.peek(), "comment" | "counter") {
        let flag = words.next();
        if flag != "," {
            flags.push(flag);
        }
    }
    match nat::verdict(name, address, ports, &flags) {
        Some(verdict) => rule.verdict(verdict),
        None => {
            let map = flags.contains(&"map");
            rule.do_not_know(nat::why_not(name, address, ports, map));
            parts::other(rule, name);
        }
    }
}
