//! What `iptables-save` writes, as a configuration of natbpf.
//!
//! Only what means the same is taken over. A rule that natbpf cannot say is left out and named, and so are those
//! that were written to be asked after it: without it they would translate what they were not meant for.

use std::{collections::BTreeSet, fmt};

mod flatten;
mod floating;
mod matching;
mod order;
mod postrouting;
mod prerouting;
mod rule;
mod save;
mod target;
#[cfg(test)]
mod tests;
mod toml;

use self::{
    flatten::{Item, Skipped, Verdict, walk},
    prerouting::Site,
    save::{Line, Save},
    toml::Table,
};

/// Why nothing can be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImportError {
    #[error("there is no table nat in it; give what `iptables-save` or `iptables-save -t nat` writes")]
    NoTable,
}

/// A configuration, and what is not in it.
#[derive(Debug)]
pub struct Import {
    tables: Vec<Table>,
    /// Lines of the nat table that are in the configuration, or of which nothing is needed there.
    imported: usize,
    skipped: Vec<SkippedLine>,
    /// Lines that were imported in part, with what is missing.
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
    fn new(line: &Line<'_>, why: &str) -> Self {
        Self { number: line.number, why: why.to_owned(), text: line.text.to_owned() }
    }
}

/// Reads what `iptables-save` wrote. `uplink` is where forwards and floating addresses are that name no interface;
/// without it, the one interface that rules of POSTROUTING name.
pub fn import(text: &str, uplink: Option<&str>) -> Result<Import, ImportError> {
    let save = Save::parse(text);
    if !save.has_nat {
        return Err(ImportError::NoTable);
    }
    let mut skipped = Skipped::default();
    let mut after = walk(&save, "POSTROUTING", &mut skipped);
    let mut before = walk(&save, "PREROUTING", &mut skipped);
    let uplink = uplink.map(str::to_owned).or_else(|| only_uplink(&after.items));
    let site = Site { uplink: uplink.as_deref(), hairpin: &after.hairpin };

    postrouting::sort_out(&mut after.items, &mut skipped);
    let floating = floating::tables(&mut before.items, &mut after.items, site);
    let forwards = prerouting::tables(&mut before.items, site, &mut skipped);
    let tables = postrouting::tables(&after.items).into_iter().chain(floating).chain(forwards).collect();

    let mut reached = [after.reached, before.reached].concat();
    reached.sort_unstable();
    reached.dedup();
    Ok(report(&save, tables, &reached, &skipped))
}

/// The interface that source translations name, if there is only one.
fn only_uplink(items: &[Item<'_>]) -> Option<String> {
    let translating = items.iter().filter(|item| matches!(item.verdict, Verdict::Source(_)));
    let mut names: Vec<_> =
        translating.flat_map(|item| &item.pieces).filter_map(|piece| piece.output.name()).collect();
    names.sort_unstable();
    names.dedup();
    match names[..] {
        [name] => Some(name.to_owned()),
        _ => None,
    }
}

fn report(save: &Save<'_>, tables: Vec<Table>, reached: &[usize], skipped: &Skipped) -> Import {
    let mut lines: Vec<SkippedLine> = save
        .odd
        .iter()
        .map(|(number, text)| SkippedLine {
            number: *number,
            why: "it is no line of iptables-save".to_owned(),
            text: (*text).to_owned(),
        })
        .collect();
    let in_tables: BTreeSet<_> = tables.iter().flat_map(Table::lines).collect();
    let mut parts = Vec::new();
    let mut imported = 0;
    for (chain, rules) in &save.chains {
        for line in rules {
            let said = in_tables.contains(&line.number);
            let missing = skipped.lines.get(&line.number);
            let part = missing.filter(|_| said).or_else(|| skipped.parts.get(&line.number));
            let unsaid = missing.or_else(|| skipped.idle.get(&line.number)).filter(|_| !said).cloned();
            let why = match unsaid {
                Some(why) => why,
                None if reached.binary_search(&line.number).is_ok() => {
                    imported += 1;
                    parts.extend(part.map(|why| SkippedLine::new(line, why)));
                    continue;
                }
                None if matches!(*chain, "OUTPUT" | "INPUT") => {
                    "what the host itself sends or gets is not redirected".to_owned()
                }
                None => "nothing that can be imported leads there".to_owned(),
            };
            lines.push(SkippedLine::new(line, &why));
        }
    }
    lines.sort_unstable_by_key(|line| line.number);
    parts.sort_unstable_by_key(|line| line.number);
    let others = save.others.iter().map(|(table, (line, count))| {
        format!("the table {table} (from line {line}, rules: {count}) stays with iptables")
    });
    Import { tables, imported, skipped: lines, parts, remarks: others.collect() }
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
}

/// What was left out, for the operator.
impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
