//! What QEMU is told and asked while it runs, by its machine protocol.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::process::interrupt;

/// For an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// For a whole migration on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// A connection to a running QEMU.
#[derive(Debug)]
pub struct Qmp(BufReader<UnixStream>);

impl Qmp {
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("QEMU's socket")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut qmp = Self(BufReader::new(stream));
        ensure!(qmp.read()?["QMP"].is_object(), "QEMU does not greet");
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.0.get_mut(), "{request}")?;
        // What happens in QEMU is told in between.
        loop {
            let mut answer = self.read().with_context(|| format!("QEMU's answer to {command}"))?;
            if let Some(error) = answer.get("error") {
                bail!("{command}: QEMU said {error}");
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.0.read_line(&mut line)? > 0, "QEMU has closed it");
        serde_json::from_str(&line).with_context(|| format!("QEMU wrote {line:?}"))
    }

    /// Moves the guest to a QEMU that waits for it; for how long it stood still, by QEMU's account.
    pub fn migrate(&mut self, uri: &str) -> Result<Duration> {
        self.execute("migrate", &json!({ "uri": uri }))?;
        let end = Instant::now() + LIMIT;
        loop {
            interrupt::check()?;
            let state = self.execute("query-migrate", &json!({}))?;
            match state["status"].as_str() {
                Some("completed") => {
                    let downtime = state["downtime"].as_u64();
                    return Ok(Duration::from_millis(downtime.with_context(|| state.to_string())?));
                }
                Some("failed" | "cancelled") => bail!("the guest does not move: {state}"),
                _ => ensure!(Instant::now() < end, "the guest has not moved within {LIMIT:?}: {state}"),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the guest runs there.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.execute("query-status", &json!({}))?["running"] == true)
    }
}
