//! Each cause has a test.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use lab::process::Cmd;
use serde_json::Value;

#[test]
fn each_cause_is_named_by_a_test() -> Result<()> {
    let natbpf = lab::gateway::natbpf::binary()?;
    let text = Cmd::new(natbpf).args(["doctor", "--causes", "--json"]).output_text()?;
    let causes: Vec<Value> = serde_json::from_str(&text)?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doctor");
    let files = fs::read_dir(folder)?.map(|entry| Ok(fs::read_to_string(entry?.path())?));
    let tests = files.collect::<Result<Vec<_>>>()?.concat();
    for cause in &causes {
        let name = cause["cause"].as_str().context("a cause without a name")?;
        ensure!(tests.contains(&format!("\"{name}\"")), "no test breaks a lab in the way of {name}");
    }
    Ok(())
}
