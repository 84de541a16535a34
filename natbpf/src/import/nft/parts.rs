//! Tables, chains and rules as both forms name them.

use super::condition::{self, Field};
use crate::import::{
    line::printable,
    matching::and,
    ruleset::{Base, Hook, Kind, Policy, Rule, Ruleset, Table},
    target::{Target, Verdict},
};

/// Whether rules of a family are asked for IPv4.
pub fn is_ipv4(family: &str) -> bool {
    matches!(family, "ip" | "inet")
}

/// `None`: the kernel calls it at a hook that no IPv4 packet on its way through passes, or never.
pub fn base(kind: &str, hook: &str, priority: i64) -> Option<Base> {
    let hook = match hook {
        "prerouting" => Hook::Prerouting,
        "input" => Hook::Input,
        "forward" => Hook::Forward,
        "output" => Hook::Output,
        "postrouting" => Hook::Postrouting,
        "ingress" | "egress" => Hook::Device,
        _ => return None,
    };
    let kind = if kind == "nat" { Kind::Nat } else { Kind::Filter };
    Some(Base { kind, hook, priority, policy: Policy::Accept, line: crate::import::line::Line::default() })
}

pub fn policy(word: &str) -> Policy {
    if word == "drop" { Policy::Drop } else { Policy::Accept }
}

/// Adds a condition to a rule.
pub fn add(rule: &mut Rule, field: &Field<'_>, negated: bool, values: &[String]) {
    if field.is_port_alone() && !rule.pieces.iter().all(|piece| piece.protocol.is.is_some()) {
        return rule.do_not_know("natbpf does not know ports of all protocols at once");
    }
    match condition::alternatives(field, negated, values) {
        Some(none) if none.is_empty() && field.is_of_family() => of_ipv6(rule),
        Some(alternatives) => rule.pieces = and(&rule.pieces, &alternatives),
        None => {
            let not = if negated { "!= " } else { "" };
            rule.do_not_know(format!(
                "natbpf does not know the match {field} {not}{}",
                printable(&values.join(", "))
            ));
        }
    }
}

/// No packet of IPv4 comes by it.
pub fn of_ipv6(rule: &mut Rule) {
    rule.pieces.clear();
    rule.do_not_know("it is for IPv6, which natbpf does not translate");
}

/// What is no statement that is known. Where `may_decide`, it may be the verdict, unless one follows.
pub fn unknown(rule: &mut Rule, name: &str, may_decide: bool) {
    rule.do_not_know(format!("natbpf does not know {}", printable(name)));
    if may_decide && !passes(name) {
        self::may_decide(rule, name);
    }
}

/// What may be a target, unless one follows.
pub fn may_decide(rule: &mut Rule, name: &str) {
    if rule.target == Target::None {
        other(rule, name);
    }
}

/// What the next rule is asked after.
pub fn pass(rule: &mut Rule, name: &str) {
    if rule.target == Target::None {
        rule.target = Target::Pass(name.to_owned());
    }
}

/// Whether no rule after it is asked for what it matches.
pub fn decides(rule: &Rule) -> bool {
    !matches!(rule.target, Target::None | Target::Pass(_))
}

/// Whether the next rule is asked after a statement of this name.
fn passes(name: &str) -> bool {
    const PASSING: &str = "limit, quota, add, update, delete, set, dup, flow, last, meter, ct helper, \
                           ct timeout, ct expectation, ct count, secmark, optstrip, reset";
    PASSING.split(", ").any(|passing| passing == name)
}

/// What has no counterpart: it is known by name alone.
pub fn other(rule: &mut Rule, name: &str) {
    rule.verdict(Verdict::Other(printable(name)));
}

/// Words that end the way of a packet, or lead it on.
pub fn verdict(rule: &mut Rule, word: &str, chain: &str) -> bool {
    match word {
        "accept" => rule.verdict(Verdict::Accept),
        "drop" | "reject" => rule.verdict(Verdict::Drop),
        "return" => rule.target = Target::Return,
        "jump" | "goto" => {
            rule.target = Target::Jump(chain.to_owned());
            rule.goto = word == "goto";
        }
        "notrack" => rule.untracks = true,
        "redirect" | "queue" | "tproxy" | "synproxy" => other(rule, word),
        _ => return false,
    }
    true
}

/// Says which tables are not read.
pub fn remark_foreign(ruleset: &mut Ruleset, family: &str, name: &str) {
    let why = match family {
        "ip6" => "natbpf translates IPv4",
        "netdev" => crate::import::filters::AROUND,
        _ => "what is routed is not asked there",
    };
    ruleset.remarks.push(format!("the table {family} {} is not read: {why}", printable(name)));
}

/// Leaves out a table of which no rule is asked.
pub fn dormant(ruleset: &mut Ruleset, family: &str, name: &str) {
    let name = table(ruleset, family, name).name.clone();
    ruleset.tables.retain(|other| other.name != name);
    ruleset.remarks.push(format!("the table {name} is dormant: its rules are not asked"));
}

/// The table of this name, which is made if it is not there.
pub fn table<'a>(ruleset: &'a mut Ruleset, family: &str, name: &str) -> &'a mut Table {
    let name = format!("{family} {}", printable(name));
    let at = ruleset.tables.iter().position(|table| table.name == name).unwrap_or_else(|| {
        ruleset.tables.push(Table { name, ..Table::default() });
        ruleset.tables.len() - 1
    });
    &mut ruleset.tables[at]
}
