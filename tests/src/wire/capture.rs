//! tcpdump in a namespace, for what really went over a wire.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::netns::Namespace;
use crate::process::{Process, Stream};

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    process: Process,
}

impl Capture {
    /// Captures what passes `device` and matches `filter` (pcap-filter(7)); returns once it is listening.
    pub fn start(ns: &Namespace, device: &str, filter: &str) -> Result<Self> {
        Self::with(ns, device, filter, &[])
    }

    /// As [`Capture::start`] with further options of tcpdump, such as `-v` or `-e`.
    pub fn with(ns: &Namespace, device: &str, filter: &str, options: &[&str]) -> Result<Self> {
        let common = ["-i", device, "-n", "-t", "-l", "--immediate-mode", "-Z", "root", "-B", "16384"];
        let process = ns.cmd("tcpdump").args(common).args(options).arg(filter).spawn()?;
        process.wait_for(Stream::Stderr, Duration::from_secs(10), |line| line.contains("listening on"))?;
        Ok(Self { process })
    }

    /// Ends the capture and returns its lines, a packet each.
    ///
    /// # Errors
    /// When tcpdump failed or the kernel could not give it every packet: nothing is proved then.
    pub fn stop(self) -> Result<Vec<String>> {
        // A packet that has left its sender takes a moment until tcpdump has read it.
        thread::sleep(Duration::from_millis(150));
        let output = self.process.stop(Signal::SIGINT, Duration::from_secs(10))?;
        let summary = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tcpdump failed: {summary}");
        ensure!(summary.contains("\n0 packets dropped by kernel"), "tcpdump missed packets: {summary}");
        // An interrupted tcpdump ends its output with an empty line.
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }
}
