//! The lines, and to which table each belongs.

use std::collections::BTreeMap;

use super::{
    family::{self, Family},
    section::Section,
    shell::{self, Open},
    step::Order,
    table::table,
    words,
};
use crate::import::{
    ImportError,
    line::{Line, printable},
    ruleset::Ruleset,
};

/// Reads all lines. Which tables are IPv6's is found out, and they are left alone.
pub fn parse(text: &str) -> Result<Ruleset, ImportError> {
    let mut reader = Reader::default();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let mut whole = line.trim_start().to_owned();
        // What a shell joins.
        while !reader.inside && shell::split(&whole) == Err(Open::Backslash) {
            let Some((_, next)) = lines.next() else { break };
            whole.pop();
            whole.push_str(next);
        }
        reader.line(number, &whole)?;
    }
    let Reader { mut sections, mut ruleset, .. } = reader;
    for section in &mut sections {
        section.settle_table()?;
        section.check_chains()?;
    }
    ruleset.single_tables = sections.iter().any(|section| !section.named);
    let mut tables: BTreeMap<String, Section> = BTreeMap::new();
    for section in joined(sections) {
        let (name, new) = (&section.table, section.line.number);
        if section.family() == Some(Family::V6) {
            let rules = section.rules();
            if rules > 0 {
                ruleset.remarks.push(format!(
                    "the table {name} of IPv6 (from line {new}, rules: {rules}) is not read: natbpf translates IPv4"
                ));
            }
            continue;
        }
        if let Some(first) = tables.get(name) {
            let old = first.line.number;
            // What `iptables -S` prints nobody restores.
            let clear = |section: &Section| section.named && section.family().is_some();
            if !clear(first) || !clear(&section) {
                return Err(ImportError::TwoTables { table: printable(name), first: old, second: new });
            }
            // iptables-restore empties a table before it fills it.
            ruleset.remarks.push(format!(
                "the table {name} from line {old} on is replaced by that from line {new} on, as iptables-restore does"
            ));
        }
        tables.insert(name.clone(), section);
    }
    ruleset.tables = tables.into_values().map(table).collect();
    Ok(ruleset)
}

/// With each table of which `iptables -S CHAIN` printed one chain after the other as one.
fn joined(sections: Vec<Section>) -> Vec<Section> {
    let mut joined: Vec<Section> = Vec::new();
    for section in sections {
        match joined.iter_mut().find(|before| before.is_continued_by(&section)) {
            Some(before) => before.chains.extend(section.chains),
            None => joined.push(section),
        }
    }
    joined
}

#[derive(Default)]
struct Reader {
    sections: Vec<Section>,
    ruleset: Ruleset,
    /// What the last comment of iptables-save said.
    family: Option<Family>,
    /// Whether a table was named and has not ended.
    inside: bool,
    next: usize,
}

impl Reader {
    fn line(&mut self, number: usize, text: &str) -> Result<(), ImportError> {
        if let Some(comment) = text.strip_prefix('#') {
            let named = Family::of_header(comment);
            self.family = named.or(self.family.filter(|_| !comment.contains("Completed on")));
            self.ruleset.remarks.extend(unread_by_save(comment));
            return Ok(());
        }
        let text = without_counters(text);
        if text.is_empty() {
            return Ok(());
        }
        if text.trim_end() == "COMMIT" {
            self.inside = false;
            return Ok(());
        }
        self.next += 1;
        let line = Line { id: self.next, number, text: printable(text.trim_end()) };
        if let Some(name) = text.strip_prefix('*') {
            self.inside = true;
            self.sections.push(Section::new(name.trim(), self.family, line));
            return Ok(());
        }
        if self.inside {
            return self.listed(line, text);
        }
        let command = shell::split(text).map_err(|open| match open {
            Open::Backslash => unread(&line, "it ends with a backslash, and nothing follows"),
            Open::Quotation => unread(&line, QUOTATION),
        })?;
        if let Some((family, words)) = family::program(&command.words) {
            let order = Order::parse(words).filter(|_| command.is_plain());
            return self.command(line, family, order.ok_or(ImportError::Script { line: number })?);
        }
        if text.starts_with('-') && Order::parse(&command.words).is_some() {
            return self.listed(line, text);
        }
        self.outside(line, &command)
    }

    /// A line as iptables-restore reads it, and as `iptables -S` prints it.
    fn listed(&mut self, line: Line, text: &str) -> Result<(), ImportError> {
        let words = words::split(text).ok_or_else(|| unread(&line, QUOTATION))?;
        // A comment may have one.
        if words.iter().any(|word| word.starts_with('\\')) {
            return Err(unread(&line, "iptables-restore takes no backslash outside of a quotation"));
        }
        let Some(order) = Order::parse(&words) else {
            return Err(unread(&line, "it is no line that iptables-restore takes"));
        };
        if order.family == Some(Family::V6) {
            // iptables-restore leaves it to ip6tables-restore.
            return Ok(());
        }
        let section = match self.sections.last_mut() {
            Some(section) if self.inside || (!section.named && !section.is_over(&order.step)) => section,
            _ => self.sections.push_mut(Section::unnamed(self.family, line.clone())),
        };
        if order.table.is_some_and(|table| section.named && table != section.table) {
            return Err(unread(&line, "it names another table than that in which it stands"));
        }
        section.apply(order.step, line)
    }

    /// `iptables -t nat -A …`
    fn command(&mut self, line: Line, family: Family, order: Order) -> Result<(), ImportError> {
        if order.family.is_some_and(|other| other != family) {
            // iptables refuses it.
            return Ok(());
        }
        let table = order.table.unwrap_or_else(|| "filter".to_owned());
        let same = |section: &&mut Section| section.table == table && section.header == Some(family);
        let section = match self.sections.iter_mut().find(same) {
            Some(section) => section,
            None => self.sections.push_mut(Section::new(&table, Some(family), line.clone())),
        };
        section.apply(order.step, line)
    }

    /// A line that belongs to no table.
    fn outside(&mut self, line: Line, command: &shell::Command<'_>) -> Result<(), ImportError> {
        if line.text.starts_with("Chain ") && line.text.contains('(') {
            return Err(ImportError::Listing);
        }
        let first = command.words.first().map_or("", String::as_str);
        let controls = "if for while case until function fi done esac . source eval { }";
        // A part of a rule, or one with a variable in front.
        let parts = ["-A", "-I", "-j", "-g", "--append", "--insert", "--jump", "--goto"];
        let live = command.live.unwrap_or_default();
        if controls.split(' ').any(|control| control == first)
            || live.starts_with('(')
            || live.contains("<<")
            || line.text.contains("iptables")
            || line.text.split_whitespace().any(|word| parts.contains(&word))
        {
            return Err(ImportError::Script { line: line.number });
        }
        self.ruleset.odd.push((line, "it is no rule".to_owned()));
        Ok(())
    }
}

const QUOTATION: &str = "a quotation in it does not end";

fn unread(line: &Line, why: &str) -> ImportError {
    ImportError::Unread { line: line.number, why: why.to_owned() }
}

/// What `iptables-save` says in a comment of tables that it does not print.
fn unread_by_save(comment: &str) -> Option<String> {
    let comment = comment.trim();
    if let Some((name, rest)) = comment.strip_prefix("Table `").and_then(|rest| rest.split_once('\'')) {
        let name = printable(name);
        return rest.contains("incompatible").then(|| {
            format!(
                "the table {name} is not read, since iptables-save cannot print it; `nft list ruleset` does"
            )
        });
    }
    let legacy = comment.starts_with("Warning: ") && comment.contains("legacy");
    legacy.then(|| "tables of iptables-legacy are not read; `iptables-legacy-save` prints them".to_owned())
}

/// `iptables-save -c` writes packets and bytes in front: `[12:3456]`.
fn without_counters(line: &str) -> &str {
    match line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((_, rest)) => rest.trim_start(),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Ruleset {
        parse(text).unwrap()
    }

    fn texts<'a>(ruleset: &'a Ruleset, table: &str, chain: &str) -> Vec<(usize, &'a str)> {
        let table = ruleset.tables.iter().find(|found| found.name == table).unwrap();
        table.chains[chain].rules.iter().map(|rule| (rule.line.number, rule.line.text.as_str())).collect()
    }

    #[test]
    fn tables_chains_and_lines() {
        let text = "# Generated\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n*nat\n\
                    :POSTROUTING ACCEPT [0:0]\n:EMPTY - [0:0]\n[3:252] -A POSTROUTING -o eth0 -j MASQUERADE\n\
                    COMMIT\nwhat is this?\n";
        let ruleset = read(text);
        assert!(ruleset.has_nat());
        assert_eq!(texts(&ruleset, "nat", "POSTROUTING"), [(9, "-A POSTROUTING -o eth0 -j MASQUERADE")]);
        assert_eq!(texts(&ruleset, "filter", "INPUT"), [(4, "-A INPUT -j ACCEPT")]);
        assert_eq!(ruleset.odd.len(), 1);
        assert_eq!(ruleset.odd[0].0.number, 11);
        let odd = parse(&text.replace("COMMIT\nwhat", "what")).unwrap_err();
        assert!(matches!(odd, ImportError::Unread { line: 10, .. }), "{odd}");
    }

    #[test]
    fn an_insertion_comes_first() {
        let text = "*nat\n-A POSTROUTING -o a -j ACCEPT\n-I POSTROUTING -o b -j ACCEPT\n\
                    -I POSTROUTING 2 -o c -j ACCEPT\nCOMMIT\n";
        let numbers: Vec<_> =
            texts(&read(text), "nat", "POSTROUTING").into_iter().map(|(line, _)| line).collect();
        assert_eq!(numbers, [3, 4, 2]);
    }

    #[test]
    fn scripts_and_listings() {
        let script = "#!/bin/sh\nsysctl -w net.ipv4.ip_forward=1\nsudo iptables -t nat -F\n\
                      /sbin/iptables -t nat -A POSTROUTING -o a -j MASQUERADE 2>/dev/null\n\
                      iptables -A FORWARD -j ACCEPT\nip6tables -t nat -A POSTROUTING -o a -j MASQUERADE\n\
                      iptables -t nat -A POSTROUTING -o b -j MASQUERADE\n\
                      iptables -t nat -D POSTROUTING -o b -j MASQUERADE\n";
        let ruleset = read(script);
        assert_eq!(texts(&ruleset, "nat", "POSTROUTING").len(), 1);
        assert_eq!(texts(&ruleset, "filter", "FORWARD").len(), 1);
        assert!(ruleset.remarks[0].contains("IPv6"));
        let script = parse("iptables -t nat -A POSTROUTING -o $WAN -j MASQUERADE\n");
        assert_eq!(script.unwrap_err(), ImportError::Script { line: 1 });
        let listing = parse("Chain POSTROUTING (policy ACCEPT)\ntarget prot opt source destination\n");
        assert_eq!(listing.unwrap_err(), ImportError::Listing);
        let printed =
            read("-P PREROUTING ACCEPT\n-P POSTROUTING ACCEPT\n-N X\n-A POSTROUTING -o a -j MASQUERADE\n");
        assert_eq!(texts(&printed, "nat", "POSTROUTING").len(), 1);
    }

    #[test]
    fn ipv6_is_told_apart() {
        let four = "# Generated by iptables-save v1.8\n*nat\n-A POSTROUTING -o a -j MASQUERADE\nCOMMIT\n# Completed\n";
        let six = "# Generated by ip6tables-save v1.8\n*nat\n-A POSTROUTING -o b -j MASQUERADE\nCOMMIT\n# Completed\n";
        for both in [format!("{four}{six}"), format!("{six}{four}")] {
            let ruleset = read(&both);
            let [(_, text)] = texts(&ruleset, "nat", "POSTROUTING")[..] else { panic!("{both}") };
            assert!(text.contains("-o a"));
        }
        assert!(!read(six).has_nat());
        assert!(!read("*nat\n-A POSTROUTING -s fd00::/8 -j MASQUERADE\nCOMMIT\n").has_nat());
        let unclear = "*nat\n-A POSTROUTING -o a -j MASQUERADE\nCOMMIT\n*nat\n-A POSTROUTING -o b -j MASQUERADE\nCOMMIT\n";
        assert_eq!(
            parse(unclear).unwrap_err(),
            ImportError::TwoTables { table: "nat".to_owned(), first: 1, second: 4 }
        );
        // What another table drops matters as much.
        let drops = "*filter\n:FORWARD DROP\nCOMMIT\n*filter\n:FORWARD ACCEPT\nCOMMIT\n";
        let two = parse(&format!("{drops}*nat\n-A POSTROUTING -o a -j MASQUERADE\nCOMMIT\n")).unwrap_err();
        assert_eq!(two, ImportError::TwoTables { table: "filter".to_owned(), first: 1, second: 4 });
    }
}
