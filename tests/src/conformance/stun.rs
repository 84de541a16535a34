//! A second opinion: coturn's tool that finds out how a NAT behaves, by RFC 5780.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::bed::{Bed, IN1, OUT1, OUT1_ALIAS};
use crate::process::Process;
use crate::wait_until;

/// coturn's server at both addresses of `out1`; ends when dropped.
#[derive(Debug)]
pub struct Stun<'a> {
    bed: &'a Bed,
    _server: Process,
    _dir: TempDir,
}

impl<'a> Stun<'a> {
    pub fn start(bed: &'a Bed) -> Result<Self> {
        let dir = tempfile::tempdir().context("cannot make a directory for turnserver")?;
        let file = |name: &str| dir.path().join(name);
        let server = bed.out1.cmd("turnserver").args(["-n", "--stun-only", "--no-auth", "--no-cli"]);
        let server = server.args(["--no-tls", "--no-dtls", "--log-file", "stdout", "--relay-threads", "1"]);
        let server = server.arg("--pidfile").arg(file("pid")).arg("--db").arg(file("db"));
        let server = server.args(["-L", &OUT1.to_string(), "-L", &OUT1_ALIAS.to_string()]).spawn()?;
        // Two addresses with two ports each: 3478 and 3479.
        wait_until("turnserver listens", Duration::from_secs(10), || {
            let sockets = bed.out1.read("/proc/thread-self/net/udp")?;
            let has = |address: Ipv4Addr, port| {
                let address = u32::from_ne_bytes(address.octets());
                sockets.contains(&format!(" {address:08X}:{port:04X} "))
            };
            let pairs = [OUT1, OUT1_ALIAS].into_iter().flat_map(|address| [(address, 3478), (address, 3479)]);
            Ok(pairs.into_iter().all(|(address, port)| has(address, port)))
        })?;
        Ok(Self { bed, _server: server, _dir: dir })
    }

    /// Whether `turnutils_natdiscovery` with this option says so of the way from `in1`. Whatever it waits for
    /// in vain takes it three seconds.
    pub fn finds(&self, option: &str, verdict: &str) -> Result<bool> {
        let tool = self.bed.in1.cmd("turnutils_natdiscovery").args([option, "-L", &IN1.to_string()]);
        let said = tool.arg(OUT1.to_string()).limit(Duration::from_secs(20)).output_text()?;
        ensure!(said.contains("RFC 5780 response 1"), "coturn's server does not answer: {said}");
        Ok(said.contains(verdict))
    }
}
