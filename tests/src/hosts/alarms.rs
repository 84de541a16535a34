//! What `natbpf doctor` finds on a host where all works: nothing that is an error or a warning.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::host::Host;

/// Its false alarms, and what it could not look at.
pub fn of(host: &dyn Host) -> Result<Vec<String>> {
    let output = host.natbpf_cli()?.output(["doctor", "--json"])?;
    let text = String::from_utf8(output.stdout)?;
    let report: Value = serde_json::from_str(&text).with_context(|| {
        format!("`natbpf doctor --json`: {text}{}", String::from_utf8_lossy(&output.stderr))
    })?;
    let listed = |key: &str| report[key].as_array().cloned().unwrap_or_default();
    let alarms = listed("findings").into_iter().filter(|finding| finding["severity"] != "note");
    let alarms = alarms.map(|finding| format!("doctor: {}: {}", finding["cause"], finding["sentence"]));
    let unseen = listed("unseen").into_iter().map(|what| format!("doctor: not looked at: {what}"));
    Ok(alarms.chain(unseen).collect())
}
