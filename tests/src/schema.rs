//! The schemas of docs/schema, which say what commands print as JSON.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

/// They are here, so that tests find them on every machine.
const SCHEMAS: [(&str, &str); 4] = [
    ("doctor", include_str!("../../docs/schema/doctor.json")),
    ("top", include_str!("../../docs/schema/top.json")),
    ("trace", include_str!("../../docs/schema/trace.json")),
    ("why", include_str!("../../docs/schema/why.json")),
];

/// One of them.
#[derive(Debug)]
pub struct Schema(Value);

impl Schema {
    /// That of a command.
    pub fn of(command: &str) -> Result<Self> {
        let schema = SCHEMAS.iter().find(|(name, _)| *name == command);
        let (_, text) = schema.with_context(|| format!("no schema is for {command}"))?;
        Ok(Self(serde_json::from_str(text)?))
    }

    /// Whether what was printed is what it says.
    ///
    /// # Errors
    /// With what does not fit, or with a word of the schema that is not known here.
    pub fn check(&self, value: &Value) -> Result<()> {
        check(&self.0, &self.0, value)
    }

    /// The same for a part of it, by its JSON pointer.
    pub fn check_at(&self, place: &str, value: &Value) -> Result<()> {
        check(&self.0, self.0.pointer(place).with_context(|| format!("no {place}"))?, value)
    }
}

/// Checks a value by the words of JSON Schema (2020-12) that the schema uses; a validator for all of them would bring
/// 78 crates. A word that is not known here is an error, so none goes unchecked.
fn check(root: &Value, schema: &Value, value: &Value) -> Result<()> {
    for (word, wanted) in schema.as_object().context("a schema is an object")? {
        let fits = match &**word {
            "$schema" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let place =
                    wanted.as_str().and_then(|text| text.strip_prefix('#')).context("a local $ref")?;
                check(root, root.pointer(place).with_context(|| format!("no {place}"))?, value)?;
                true
            }
            "type" => {
                let names = wanted.as_array().map_or_else(|| vec![wanted], |list| list.iter().collect());
                names.into_iter().any(|name| is_of_type(value, name.as_str().unwrap_or_default()))
            }
            "const" => value == wanted,
            "enum" => wanted.as_array().context("a list")?.contains(value),
            // Each of these is about one type, and values of others fit.
            "minimum" => value.as_f64().is_none_or(|value| Some(value) >= wanted.as_f64()),
            "maximum" => value.as_f64().is_none_or(|value| Some(value) <= wanted.as_f64()),
            "exclusiveMinimum" => value.as_f64().is_none_or(|value| Some(value) > wanted.as_f64()),
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= number(wanted)),
            "minItems" => value.as_array().is_none_or(|list| list.len() as u64 >= number(wanted)),
            "maxItems" => value.as_array().is_none_or(|list| list.len() as u64 <= number(wanted)),
            "pattern" => {
                let meant = characters(wanted.as_str().unwrap_or_default())?;
                value
                    .as_str()
                    .is_none_or(|text| !text.is_empty() && text.bytes().all(|byte| meant.contains(&byte)))
            }
            "format" => {
                let fits: fn(&str) -> bool = match wanted.as_str() {
                    Some("ipv4") => |text| text.parse::<Ipv4Addr>().is_ok(),
                    Some("ipv6") => |text| text.parse::<Ipv6Addr>().is_ok(),
                    _ => bail!("the format {wanted} is not known here"),
                };
                value.as_str().is_none_or(fits)
            }
            "oneOf" => {
                let schemas = wanted.as_array().context("a list")?;
                schemas.iter().filter(|schema| check(root, schema, value).is_ok()).count() == 1
            }
            "required" => {
                let names = wanted.as_array().context("a list")?.iter().filter_map(Value::as_str);
                !value.is_object() || names.into_iter().all(|name| value.get(name).is_some())
            }
            "properties" => {
                let wanted = wanted.as_object().context("properties")?;
                for (name, schema) in wanted {
                    if let Some(value) = value.get(name) {
                        check(root, schema, value).with_context(|| name.clone())?;
                    }
                }
                true
            }
            "additionalProperties" => {
                ensure!(*wanted == json!(false), "{word} with {wanted} is not known here");
                let known = schema["properties"].as_object().context("properties")?;
                value.as_object().is_none_or(|object| object.keys().all(|name| known.contains_key(name)))
            }
            "items" => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                items.iter().try_for_each(|item| check(root, wanted, item))?;
                true
            }
            _ => bail!("the word {word} is not known here"),
        };
        ensure!(fits, "{value} does not fit {word} {wanted}");
    }
    Ok(())
}

/// The characters of `^[…]+$`, the only form of patterns that is known here.
fn characters(pattern: &str) -> Result<Vec<u8>> {
    let class = pattern.strip_prefix("^[").and_then(|rest| rest.strip_suffix("]+$"));
    let class = class.with_context(|| format!("the pattern {pattern} is not known here"))?.as_bytes();
    let mut characters = Vec::new();
    let mut at = 0;
    while at < class.len() {
        match class[at..] {
            [first, b'-', last, ..] => {
                characters.extend(first..=last);
                at += 3;
            }
            [one, ..] => {
                characters.push(one);
                at += 1;
            }
            [] => {}
        }
    }
    Ok(characters)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(u64::MAX)
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(schema: Value, value: Value) -> bool {
        Schema(schema).check(&value).is_ok()
    }

    #[test]
    fn each_word_tells_what_fits_from_what_does_not() {
        for (schema, good, bad) in [
            (json!({ "type": ["integer", "null"], "maximum": 3 }), json!(null), json!(4)),
            (json!({ "exclusiveMinimum": 0 }), json!(0.1), json!(0)),
            (json!({ "pattern": "^[a-c_-]+$" }), json!("a_-c"), json!("d")),
            (json!({ "maxItems": 1 }), json!([1]), json!([1, 2])),
            (json!({ "format": "ipv4" }), json!("10.0.0.1"), json!("10.0.0")),
            (json!({ "format": "ipv6" }), json!("fd00::1"), json!("10.0.0.1")),
            (json!({ "oneOf": [{ "type": "null" }, { "const": 1 }] }), json!(1), json!(2)),
            (
                json!({ "properties": { "a": {} }, "additionalProperties": false }),
                json!({ "a": 1 }),
                json!({ "b": 1 }),
            ),
            // Words of objects are for objects.
            (
                json!({ "type": ["object", "null"], "required": ["a"], "properties": { "a": {} }, "additionalProperties": false }),
                json!(null),
                json!({}),
            ),
        ] {
            assert!(fits(schema.clone(), good.clone()), "{schema} {good}");
            assert!(!fits(schema.clone(), bad.clone()), "{schema} {bad}");
        }
        assert!(!fits(json!({ "unheard": 1 }), json!(1)));
        assert!(!fits(json!({ "pattern": "^a*$" }), json!("a")));
    }
}
