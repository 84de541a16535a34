//! What `natbpf doctor --json` prints is what docs/schema/doctor.json says.

use anyhow::{Context as _, Result, ensure};
use lab::Schema;
use lab::process::Cmd;
use serde_json::{Value, json};

use super::examination::{Examination, healthy};

fn fits(found: &Examination) -> Result<()> {
    Schema::of("doctor")?.check(&found.report).with_context(|| format!("{:#}", found.report))
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
    let schema = Schema::of("doctor")?;
    let finding = json!({ "cause": "x", "severity": "error", "stage": "host", "namespace": null, "object": "y",
                          "sentence": "z", "evidence": [{ "source": "s", "value": "" }], "mend": ["m"] });
    let report =
        |finding: Value| json!({ "version": 1, "namespaces": 1, "findings": [finding], "unseen": [] });
    schema.check(&report(finding.clone()))?;
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
        ensure!(schema.check(&report(other)).is_err(), "{name}");
    }
    Ok(())
}

/// Severities and stages that the schema lists are those of the causes.
#[test]
fn the_schema_has_the_words_of_the_causes() -> Result<()> {
    let schema = Schema::of("doctor")?;
    let natbpf = lab::gateway::natbpf::binary()?;
    let text = Cmd::new(natbpf).args(["doctor", "--causes", "--json"]).output_text()?;
    for cause in serde_json::from_str::<Vec<Value>>(&text)? {
        for word in ["severity", "stage", "cause"] {
            schema
                .check_at(&format!("/$defs/finding/properties/{word}"), &cause[word])
                .with_context(|| cause.to_string())?;
        }
    }
    Ok(())
}
