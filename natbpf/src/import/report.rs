//! What is imported, and what is said of the rest.

use std::{collections::BTreeSet, fmt};

use super::{
    flatten::Skipped,
    line::Line,
    remarks,
    ruleset::{Hook, Ruleset},
    toml::Table,
};

/// A configuration, and what is not in it.
#[derive(Debug)]
pub struct Import {
    pub tables: Vec<Table>,
    /// Rules that translate, or could, that are in the configuration, or of which nothing is needed there.
    imported: usize,
    pub skipped: Vec<SkippedLine>,
    /// Lines that are no rules.
    odd: Vec<SkippedLine>,
    /// Lines that were imported in part, with what is missing, or with what else there is to be said.
    pub parts: Vec<SkippedLine>,
    /// Remarks on other tables.
    pub remarks: Vec<String>,
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

/// With all lines of the table nat, each where it belongs.
pub fn report(ruleset: &Ruleset, tables: Vec<Table>, reached: &BTreeSet<usize>, skipped: &Skipped) -> Import {
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
            // Row M30.
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
        self.tables.iter().map(Table::to_string).collect::<Vec<_>>().join("\n")
    }
}

/// What was left out, for the operator.
impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [
            ("not read line", "", &self.odd),
            ("skipped line", "", &self.skipped),
            ("imported line", " in part", &self.parts),
        ];
        for (what, how, lines) in lines {
            for SkippedLine { number, why, text } in lines {
                writeln!(f, "{what} {number}{how}: {why}\n    {text}")?;
            }
        }
        for remark in &self.remarks {
            writeln!(f, "{remark}")?;
        }
        write!(f, "{} rules of the nat table imported, {} skipped", self.imported, self.skipped.len())
    }
}
