//! What `natbpf doctor --json` prints is what docs/schema/doctor.json says.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use lab::process::Cmd;
use serde_json::{Value, json};

use super::examination::{Examination, healthy};

fn schema() -> Result<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/doctor.json");
    Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
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
            "minimum" => value.as_i64() >= wanted.as_i64(),
            "minLength" => value.as_str().is_some_and(|text| text.chars().count() as u64 >= number(wanted)),
            "minItems" => value.as_array().is_some_and(|list| list.len() as u64 >= number(wanted)),
            // The only one that is used.
            "pattern" => {
                ensure!(wanted == "^[a-z0-9-]+$", "{wanted} is not known here");
                let is_meant = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                value.as_str().is_some_and(|text| !text.is_empty() && text.bytes().all(is_meant))
            }
            "required" => {
                let names = wanted.as_array().context("a list")?.iter().filter_map(Value::as_str);
                names.into_iter().all(|name| value.get(name).is_some())
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
                value.as_object().is_some_and(|object| object.keys().all(|name| known.contains_key(name)))
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

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(u64::MAX)
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        _ => false,
    }
}

fn fits(found: &Examination) -> Result<()> {
    let schema = schema()?;
    check(&schema, &schema, &found.report).with_context(|| format!("{:#}", found.report))
}

#[test]
fn a_healthy_report_fits() -> Result<()> {
    fits(&Examination::of(&healthy()?.natbpf_cli()?)?)
}

/// Errors in two namespaces, a note, and rules that cannot be seen.
#[test]
fn reports_of_broken_labs_fit() -> Result<()> {
    let lab = healthy()?;
    lab.gw.sysctl("net.ipv4.ip_forward", "0")?;
    lab.vm2.ip("route del default")?;
    lab.gw.cmd("ethtool").args(["-K", "port1", "tx", "off"]).run()?;
    let found = Examination::of(&lab.natbpf_cli()?)?;
    ensure!(found.causes().len() == 2, "{:#}", found.report);
    fits(&found)?;
    let without = lab.natbpf_cli()?.cmd().env("PATH", "/nowhere").args(["doctor", "--json"]);
    fits(&Examination::by(without)?)
}

/// The schema is not one that everything fits.
#[test]
fn other_reports_do_not_fit() -> Result<()> {
    let schema = schema()?;
    let finding = json!({ "cause": "x", "severity": "error", "stage": "host", "namespace": null, "object": "y",
                          "sentence": "z", "evidence": [{ "source": "s", "value": "" }], "mend": ["m"] });
    let report =
        |finding: Value| json!({ "version": 1, "namespaces": 1, "findings": [finding], "unseen": [] });
    check(&schema, &schema, &report(finding.clone()))?;
    for (name, value) in [
        ("severity", json!("bad")),
        ("stage", json!("moon")),
        ("cause", json!("Not This")),
        ("namespace", json!(1)),
        ("object", json!("")),
        ("mend", json!([])),
        ("evidence", json!([{ "source": "s" }])),
        ("more", json!(1)),
    ] {
        let mut other = finding.clone();
        other[name] = value;
        ensure!(check(&schema, &schema, &report(other)).is_err(), "{name}");
    }
    Ok(())
}

/// Severities and stages that the schema lists are those of the causes.
#[test]
fn the_schema_has_the_words_of_the_causes() -> Result<()> {
    let schema = schema()?;
    let finding = &schema["$defs"]["finding"]["properties"];
    let natbpf = lab::gateway::natbpf::binary()?;
    let text = Cmd::new(natbpf).args(["doctor", "--causes", "--json"]).output_text()?;
    for cause in serde_json::from_str::<Vec<Value>>(&text)? {
        for word in ["severity", "stage", "cause"] {
            check(&schema, &finding[word], &cause[word]).with_context(|| cause.to_string())?;
        }
    }
    Ok(())
}
