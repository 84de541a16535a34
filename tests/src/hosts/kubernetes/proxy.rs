//! What kube-proxy does: it writes rules by iptables-restore, and has conntrack forget UDP flows to endpoints that are
//! gone.

use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::service;
use crate::netns::Namespace;
use crate::process::Cmd;

const NODE: &str = include_str!("node.rules");
const SERVICES: &str = include_str!("kube-proxy.rules");
const ENDPOINT_GONE: &str = include_str!("endpoint-gone.rules");

const LIMIT: Duration = Duration::from_secs(20);

/// Writes everything for the first time.
pub fn begin(node: &Namespace) -> Result<()> {
    restore(node.cmd("iptables-restore"), NODE)?;
    write(node)
}

/// Writes its own chains anew, with all endpoints.
pub fn write(node: &Namespace) -> Result<()> {
    restore(node.cmd("iptables-restore"), SERVICES)
}

/// Writes what changes when the second endpoint goes.
pub fn write_without_second_endpoint(node: &Namespace, endpoint: Ipv4Addr) -> Result<()> {
    restore(node.cmd("iptables-restore"), ENDPOINT_GONE)?;
    let (service, endpoint) = (service::DNS.0.to_string(), endpoint.to_string());
    let flows = ["-D", "-p", "udp", "--orig-dst", &service, "--reply-src", &endpoint];
    // It fails where there are none.
    node.cmd("conntrack").args(flows).output().map(drop)
}

/// What is in none of these chains stays.
fn restore(cmd: Cmd, rules: &str) -> Result<()> {
    let (reader, mut writer) = io::pipe()?;
    let restoring = cmd.args(["--noflush", "--counters"]).stdin(Stdio::from(reader)).spawn()?;
    let written = writer.write_all(rules.as_bytes());
    drop(writer);
    let output = restoring.finish(LIMIT)?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "iptables-restore: {}", complaint.trim());
    Ok(written?)
}

/// Whether this kernel has what the rules need, tried in a network namespace that goes at once.
pub fn is_there() -> bool {
    let anywhere = || Cmd::new("unshare").args(["--net", "iptables-restore"]);
    let has_bridges = std::fs::exists("/proc/sys/net/bridge").unwrap_or(false);
    has_bridges && restore(anywhere(), &format!("{NODE}{SERVICES}")).is_ok()
}
