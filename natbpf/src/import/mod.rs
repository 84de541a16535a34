//! Rules of iptables and nftables, as a configuration of natbpf.
//!
//! What is written does exactly what the rules did at the uplinks. A rule that natbpf cannot say is left out and named,
//! and so is what later rules would do in its place: without it they would translate what they were not meant for.
//!
//! Every input becomes the same form (`ruleset`). Its chains become one list of items (`flatten`), each with what it
//! certainly takes and what it may take. From these, rules and forwards are written (`postrouting`, `prerouting`).

use std::{collections::BTreeSet, fmt};

mod decode;
mod difference;
mod filters;
mod flatten;
mod floating;
mod inside;
mod inward;
mod iptables;
mod limits;
mod line;
mod matching;
pub mod model;
mod names;
mod nft;
mod postrouting;
mod prerouting;
mod remarks;
mod ruleset;
mod target;
#[cfg(test)]
mod tests;
mod toml;
mod unknown;

use self::{
    filters::Filters,
    flatten::{Skipped, walk},
    inward::Inward,
    limits::{Refused, Uplinks},
    line::Line,
    prerouting::Site,
    ruleset::{Hook, Kind, Ruleset},
    toml::Table,
};

/// Why nothing can be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImportError {
    #[error(
        "there is no table nat of IPv4 in it; give what `iptables-save` or `nft list ruleset` writes in the namespace \
         that translates"
    )]
    NoTable,
    #[error(
        "this is what `iptables -L` prints, which leaves out interfaces and more; give what `iptables-save` writes"
    )]
    Listing,
    #[error(
        "line {line} belongs to a script, and what it does is known only when it runs; run it, and give what \
         `iptables-save` writes"
    )]
    Script { line: usize },
    #[error("line {line} cannot be read ({why}); load the rules, and give what `iptables-save` writes")]
    Unread { line: usize, why: String },
    #[error(
        "line {line} is for FORWARD, which the table nat has not, so lines of several tables are mixed up; give what \
         `iptables-save` writes"
    )]
    Mixed { line: usize },
    #[error("line {line} names a place in a chain that does not exist; give what `iptables-save` writes")]
    Place { line: usize },
    #[error(
        "there are two tables {table}, from line {first} and from line {second} on, and nothing says which is IPv4's, or \
         which of them counts; give what `iptables-save` alone writes"
    )]
    TwoTables { table: String, first: usize, second: usize },
    #[error(
        "nothing says of which table the chains from line {line} on are, and it may be the table nat; give what \
         `iptables-save` writes"
    )]
    WhichTable { line: usize },
    #[error("line {line} is not as `nft list ruleset` writes it ({what}); give what it writes, whole")]
    Nft { line: usize, what: String },
    #[error("this is JSON, but not as `nft -j list ruleset` writes it: {0}")]
    Json(String),
}

/// A configuration, and what is not in it.
#[derive(Debug)]
pub struct Import {
    tables: Vec<Table>,
    /// Rules that translate, or could, that are in the configuration, or of which nothing is needed there.
    imported: usize,
    skipped: Vec<SkippedLine>,
    /// Lines that are no rules.
    odd: Vec<SkippedLine>,
    /// Lines that were imported in part, with what is missing, or with what else there is to be said.
    parts: Vec<SkippedLine>,
    /// Remarks on other tables.
    remarks: Vec<String>,
}

/// A line that was left out, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedLine {
    /// From 1.
    pub number: usize,
    pub why: String,
    pub text: String,
}

impl SkippedLine {
    fn new(line: &Line, why: &str) -> Self {
        Self { number: line.number, why: why.to_owned(), text: line.text.clone() }
    }
}

/// Reads rules from the bytes of a file, in any encoding that editors write.
pub fn import_bytes(bytes: &[u8], uplinks: &[String]) -> Result<Import, ImportError> {
    import(&decode::text(bytes), uplinks)
}

/// Reads rules. `uplinks` are those for rules that name none.
pub fn import(text: &str, uplinks: &[String]) -> Result<Import, ImportError> {
    Ok(convert(&read(text)?, uplinks))
}

/// Reads rules in whatever form they are.
fn read(text: &str) -> Result<Ruleset, ImportError> {
    let ruleset = if nft::json::is_it(text) {
        nft::json::parse(text)?
    } else if nft::text::is_it(text) {
        nft::text::parse(text)?
    } else {
        iptables::parse(text)?
    };
    if !ruleset.has_nat() {
        return Err(ImportError::NoTable);
    }
    Ok(ruleset)
}

/// Rules that make more of something than a configuration can have are left out, until it can have the rest.
fn convert(ruleset: &Ruleset, named: &[String]) -> Import {
    let mut refused = Refused::new();
    loop {
        let (import, more) = attempt(ruleset, named, &refused);
        if more.is_empty() {
            return import;
        }
        refused.extend(more);
    }
}

/// Returns what is too much besides.
fn attempt(ruleset: &Ruleset, named: &[String], refused: &Refused) -> (Import, Refused) {
    let mut skipped = Skipped::default();
    let filters = Filters::new(ruleset);
    let after = walk(ruleset, Kind::Nat, Hook::Postrouting, &mut skipped);
    let before = walk(ruleset, Kind::Nat, Hook::Prerouting, &mut skipped);

    let mut leaving = after.items.clone();
    postrouting::reduce(&mut leaving, refused, &mut skipped);
    let uplinks = Uplinks::new(named, postrouting::named_uplinks(&leaving));
    let written = postrouting::rules(&leaving, &uplinks, filters.untracked(), &mut skipped);

    let mut arriving = before.items;
    prerouting::reduce(&mut arriving, &mut skipped);
    let site = Site {
        named: &uplinks.named,
        too_many: &uplinks.too_many,
        uplinks: written.iter().filter_map(|rule| rule.piece.output.is.clone()).collect(),
        written: &written,
        after: &after.items,
        before: &arriving,
        filters: &filters,
    };
    let inwards = prerouting::tables(&arriving, &site, &mut skipped);
    say_hairpins(&inwards, &mut skipped);
    postrouting::say_redirected(&after.items, &written, &arriving, &mut skipped);

    let kept = written.iter().filter(|rule| !floating::replaces(rule, &inwards));
    let kept: Vec<_> = kept.cloned().collect();
    let too_many = limits::pools(&kept);
    let rules = kept.iter().map(postrouting::Written::table);
    let tables = rules.chain(inwards.iter().map(|inward| inward.table.clone())).collect();
    let reached: BTreeSet<_> = after.reached.into_iter().chain(before.reached).collect();
    let mut import = report(ruleset, tables, &reached, &skipped);
    // A floating address masquerades its host, as the rule did that it replaces.
    import.remarks.extend(filters.remarks(&written, &inwards));
    import.remarks.extend(remarks::subinterfaces(ruleset, &written, &inwards));
    import.remarks.extend(remarks::not_given(ruleset).filter(|_| !import.tables.is_empty()));
    (import, too_many)
}

/// Lines that are left out but for another's hairpin.
fn say_hairpins(inwards: &[Inward], skipped: &mut Skipped) {
    for inward in inwards.iter().filter(|inward| inward.table.key("hairpin").is_some()) {
        for id in inward.table.lines().filter(|id| *id != inward.line.id) {
            if skipped.lines.remove(&id).is_some() {
                let why = format!("only as hairpin of line {}", inward.line.number);
                skipped.parts.entry(id).or_default().push(why);
            }
        }
    }
}

fn report(ruleset: &Ruleset, tables: Vec<Table>, reached: &BTreeSet<usize>, skipped: &Skipped) -> Import {
    let odd = ruleset.odd.iter().map(|(line, why)| SkippedLine::new(line, why)).collect();
    let mut lines = Vec::new();
    let in_tables: BTreeSet<_> = tables.iter().flat_map(Table::lines).collect();
    let mut parts = Vec::new();
    let mut imported = 0;
    let remarks = ruleset.remarks.iter().cloned().chain(remarks::on_tables(ruleset)).collect();
    for table in ruleset.tables.iter().filter(|table| table.is_nat()) {
        let elsewhere = table.only_filtering();
        for (chain, rule) in table.rules().filter(|(chain, _)| !elsewhere.contains(chain)) {
            let (line, id) = (&rule.line, rule.line.id);
            let said = in_tables.contains(&id);
            let missing = skipped.lines.get(&id);
            let unsaid = missing.or_else(|| skipped.idle.get(&id)).filter(|_| !said).cloned();
            let hook = table.chains.get(chain).and_then(|chain| chain.base.as_ref()).map(|base| base.hook);
            let why = match unsaid {
                Some(why) => why,
                None if reached.contains(&id) => {
                    imported += 1;
                    let own = skipped.parts.get(&id).into_iter().flatten();
                    let all: Vec<_> = missing.into_iter().chain(own).map(String::as_str).collect();
                    if !all.is_empty() {
                        parts.push(SkippedLine::new(line, &all.join("; ")));
                    }
                    continue;
                }
                None if matches!(hook, Some(Hook::Output | Hook::Input)) => {
                    "what the host itself sends or gets is not redirected".to_owned()
                }
                None => "nothing that can be imported leads there".to_owned(),
            };
            lines.push(SkippedLine::new(line, &why));
        }
    }
    lines.sort_by_key(|line| line.number);
    parts.sort_by_key(|line| line.number);
    Import { tables, imported, skipped: lines, odd, parts, remarks }
}

impl Import {
    /// The configuration, each table under the lines that it comes from.
    pub fn toml(&self) -> String {
        let tables: Vec<_> = self.tables.iter().map(Table::to_string).collect();
        tables.join("\n")
    }

    pub fn skipped(&self) -> &[SkippedLine] {
        &self.skipped
    }

    /// Lines of which a part was left out, or of which there is something to say.
    pub fn parts(&self) -> &[SkippedLine] {
        &self.parts
    }
}

/// What was left out, for the operator.
impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.odd {
            writeln!(f, "not read line {}: {}\n    {}", line.number, line.why, line.text)?;
        }
        for line in &self.skipped {
            writeln!(f, "skipped line {}: {}\n    {}", line.number, line.why, line.text)?;
        }
        for line in &self.parts {
            writeln!(f, "imported line {} in part: {}\n    {}", line.number, line.why, line.text)?;
        }
        for remark in &self.remarks {
            writeln!(f, "{remark}")?;
        }
        write!(f, "{} rules of the nat table imported, {} skipped", self.imported, self.skipped.len())
    }
}
