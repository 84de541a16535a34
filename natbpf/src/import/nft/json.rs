//! `nft -j list ruleset`. The number of a rule is that of its object in the list, from 1.

use serde_json::Value;

use super::{condition::Field, nat, parts};
use crate::import::{
    ImportError,
    line::{Line, printable},
    matching::Match,
    ruleset::{Rule, Ruleset},
};

pub fn is_it(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

pub fn parse(json: &str) -> Result<Ruleset, ImportError> {
    let json: Value = serde_json::from_str(json).map_err(|error| ImportError::Json(error.to_string()))?;
    let Some(objects) = list(&json, "nftables") else {
        return Err(ImportError::Json("there is no list \"nftables\" in it".to_owned()));
    };
    let mut ruleset = Ruleset::default();
    let mut numbered = false;
    let mut dormant = Vec::new();
    for (number, object) in (1..).zip(objects) {
        let Some((kind, value)) = entry(object) else { continue };
        let text = |key: &str| text(value, key).unwrap_or_default();
        let family = text("family");
        match kind {
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
                let chains = &mut parts::table(&mut ruleset, family, text("table")).chains;
                chains.entry(text("name").to_owned()).or_default().base = base;
            }
            "rule" => {
                numbered = true;
                let line = line(number, value.get("expr").unwrap_or(value));
                let rule = Rule { line, ..rule(list(value, "expr").unwrap_or_default()) };
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

/// The name of an object, and what it has.
fn entry(object: &Value) -> Option<(&str, &Value)> {
    object.as_object()?.iter().next().map(|(name, value)| (name.as_str(), value))
}

fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

fn list<'a>(object: &'a Value, key: &str) -> Option<&'a [Value]> {
    object.get(key)?.as_array().map(Vec::as_slice)
}

fn line(number: usize, value: &Value) -> Line {
    Line { id: number, number, text: printable(&value.to_string()) }
}

fn rule(statements: &[Value]) -> Rule {
    let mut rule = Rule { pieces: vec![Match::default()], ..Rule::default() };
    for statement in statements {
        let Some((name, value)) = entry(statement) else {
            // So nft prints what iptables put there.
            rule.do_not_know("natbpf does not know what nft cannot print; give what iptables-save writes");
            parts::may_decide(&mut rule, "null");
            continue;
        };
        let chain = text(value, "target");
        match name {
            "match" => condition(&mut rule, value),
            "counter" | "comment" => {}
            "log" | "mangle" => parts::pass(&mut rule, name),
            "masquerade" | "snat" | "dnat" => translation(&mut rule, name, value),
            "jump" | "goto" if chain.is_none() => {
                rule.do_not_know(
                    "natbpf does not know a chain without a name in JSON; give what `nft list ruleset` writes",
                );
                parts::other(&mut rule, name);
            }
            _ if parts::verdict(&mut rule, name, chain.unwrap_or_default()) => {}
            _ => parts::unknown(&mut rule, name, true),
        }
    }
    rule
}

fn condition(rule: &mut Rule, value: &Value) {
    let operator = text(value, "op").unwrap_or_default();
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
    let (kind, value) = entry(left)?;
    match kind {
        "payload" => Some((text(value, "protocol")?, text(value, "field")?.to_owned())),
        "meta" | "ct" => Some((kind, text(value, "key")?.to_owned())),
        "fib" => {
            let flags = values(value.get("flags")?)?.join(" . ");
            Some(("fib", format!("{flags} {}", text(value, "result")?)))
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
    let given = |key: &str| statement.get(key).filter(|value| !value.is_null());
    let part = |key: &str| given(key).map_or(Some(None), |part| value(part).map(Some));
    let verdict = || {
        let (address, ports) = (part("addr")?, part("port")?);
        let flags = given("flags").map_or(Some(Vec::new()), values)?;
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        nat::verdict(name, address.as_deref(), ports.as_deref(), &flags)
    };
    if text(statement, "family") == Some("ip6") {
        parts::of_ipv6(rule);
    }
    nat::finish(rule, name, verdict(), || {
        let [address, ports] = ["addr", "port"].map(|key| part(key).flatten());
        let map = ["addr", "port"].iter().any(|key| given(key).is_some_and(|part| part.get("map").is_some()));
        nat::why_not(name, address.as_deref(), ports.as_deref(), map)
    });
}
