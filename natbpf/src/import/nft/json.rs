//! `nft -j list ruleset`. The number of a rule is that of its object in the list, from 1.

use serde_json::Value;

use super::{condition::Field, nat, parts};
use crate::import::{
    ImportError,
    line::{Line, printable},
    matching::Match,
    ruleset::{Rule, Ruleset},
    target::Target,
};

pub fn is_it(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

pub fn parse(text: &str) -> Result<Ruleset, ImportError> {
    let json: Value = serde_json::from_str(text).map_err(|error| ImportError::Json(error.to_string()))?;
    let objects = json.get("nftables").and_then(Value::as_array);
    let objects =
        objects.ok_or_else(|| ImportError::Json("there is no list \"nftables\" in it".to_owned()))?;
    let mut ruleset = Ruleset::default();
    let mut numbered = false;
    let mut dormant = Vec::new();
    for (number, object) in (1..).zip(objects) {
        let Some((kind, value)) = object.as_object().and_then(|object| object.iter().next()) else {
            continue;
        };
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let family = text("family");
        match kind.as_str() {
            "table" if !parts::is_ipv4(family) => parts::remark_foreign(&mut ruleset, family, text("name")),
            _ if !parts::is_ipv4(family) => {}
            "table" => {
                parts::table(&mut ruleset, family, text("name"));
                let flags = value.get("flags").and_then(values).unwrap_or_default();
                if flags.iter().any(|flag| flag == "dormant") {
                    dormant.push((family, text("name")));
                }
            }
            "chain" => {
                let priority = value.get("prio").and_then(Value::as_i64).unwrap_or_default();
                let mut base = parts::base(text("type"), text("hook"), priority);
                if let Some(base) = &mut base {
                    base.policy = parts::policy(text("policy"));
                    base.line = line(number, value);
                }
                parts::table(&mut ruleset, family, text("table"))
                    .chains
                    .entry(text("name").to_owned())
                    .or_default()
                    .base = base;
            }
            "rule" => {
                numbered = true;
                let mut rule = rule(value.get("expr").and_then(Value::as_array).map_or(&[], Vec::as_slice));
                rule.line = line(number, value.get("expr").unwrap_or(value));
                let chains = &mut parts::table(&mut ruleset, family, text("table")).chains;
                chains.entry(text("chain").to_owned()).or_default().rules.push(rule);
            }
            _ => {}
        }
    }
    for (family, name) in dormant {
        parts::dormant(&mut ruleset, family, name);
    }
    if numbered {
        ruleset.remarks.push("lines are the objects of the list \"nftables\", counted from 1".to_owned());
    }
    Ok(ruleset)
}

fn line(number: usize, value: &Value) -> Line {
    Line { id: number, number, text: printable(&value.to_string()) }
}

fn rule(statements: &[Value]) -> Rule {
    let mut rule = Rule { pieces: vec![Match::default()], ..Rule::default() };
    for statement in statements {
        let named = statement.as_object().and_then(|object| object.iter().next());
        let Some((name, value)) = named else {
            // So nft prints what iptables put there. It may be a target, unless one follows.
            rule.do_not_know("natbpf does not know what nft cannot print; give what iptables-save writes");
            if rule.target == Target::None {
                parts::other(&mut rule, "null");
            }
            continue;
        };
        match name.as_str() {
            "match" => condition(&mut rule, value),
            "counter" | "comment" => {}
            "log" | "mangle" => {
                if rule.target == Target::None {
                    rule.target = Target::Pass(name.clone());
                }
            }
            "masquerade" | "snat" | "dnat" => translation(&mut rule, name, value),
            _ => {
                let chain = value.get("target").and_then(Value::as_str);
                if matches!(name.as_str(), "jump" | "goto") && chain.is_none() {
                    rule.do_not_know("natbpf does not know a chain without a name in JSON; give what `nft list ruleset` writes");
                    parts::other(&mut rule, name);
                } else if !parts::verdict(&mut rule, name, chain.unwrap_or_default()) {
                    rule.do_not_know(format!("natbpf does not know {}", printable(name)));
                    if rule.target == Target::None && !parts::passes(name) {
                        parts::other(&mut rule, name);
                    }
                }
            }
        }
    }
    rule
}

fn condition(rule: &mut Rule, value: &Value) {
    let operator = value.get("op").and_then(Value::as_str).unwrap_or_default();
    let known = || {
        let (of, key) = field(value.get("left")?)?;
        Some((of, key, values(value.get("right")?)?))
    };
    match known() {
        Some((of, key, values)) if matches!(operator, "==" | "!=" | "in") => {
            parts::add(rule, &Field { of, key: &key }, operator == "!=", &values);
        }
        _ => rule.do_not_know(format!("natbpf does not know the match {}", printable(&value.to_string()))),
    }
}

/// What is looked at, in the words of the other form.
fn field(left: &Value) -> Option<(&str, String)> {
    let (kind, value) = left.as_object()?.iter().next()?;
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    match kind.as_str() {
        "payload" => Some((text("protocol")?, text("field")?.to_owned())),
        "meta" | "ct" => Some((kind, text("key")?.to_owned())),
        "fib" => {
            let flags = values(value.get("flags")?)?.join(" . ");
            Some(("fib", format!("{flags} {}", text("result")?)))
        }
        _ => None,
    }
}

/// One value or those of a set; `None` if there is one that is not known.
fn values(right: &Value) -> Option<Vec<String>> {
    if let Some(set) = right.get("set").or(Some(right)).and_then(Value::as_array) {
        return set.iter().map(value).collect();
    }
    Some(vec![value(right)?])
}

fn value(value: &Value) -> Option<String> {
    match value {
        // The name of a set begins so.
        Value::String(text) if text.starts_with('@') => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(exists) => Some(if *exists { "exists" } else { "missing" }.to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Object(object) => {
            if let Some(prefix) = object.get("prefix") {
                return Some(format!("{}/{}", prefix.get("addr")?.as_str()?, prefix.get("len")?.as_u64()?));
            }
            let [first, last] = object.get("range")?.as_array()?.as_slice() else { return None };
            Some(format!("{}-{}", self::value(first)?, self::value(last)?))
        }
        _ => None,
    }
}

fn translation(rule: &mut Rule, name: &str, statement: &Value) {
    let part = |key: &str| match statement.get(key) {
        None | Some(Value::Null) => Some(None),
        Some(found) => value(found).map(Some),
    };
    let flags = match statement.get("flags") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(flags) => values(flags),
    };
    let verdict = || {
        let (address, ports, flags) = (part("addr")?, part("port")?, flags?);
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        nat::verdict(name, address.as_deref(), ports.as_deref(), &flags)
    };
    if statement.get("family").and_then(Value::as_str) == Some("ip6") {
        parts::of_ipv6(rule);
    }
    match verdict() {
        Some(verdict) => rule.verdict(verdict),
        None => {
            let map = ["addr", "port"]
                .iter()
                .any(|key| statement.get(key).is_some_and(|part| part.get("map").is_some()));
            let text = |key: &str| part(key).flatten();
            let why = nat::why_not(name, text("addr").as_deref(), text("port").as_deref(), map);
            rule.do_not_know(why);
            parts::other(rule, name);
        }
    }
}
