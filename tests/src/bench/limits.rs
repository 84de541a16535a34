//! How many connections netfilter tracks, which is a limit of the whole machine: that of a network namespace
//! cannot be higher, and some kernels do not let one set it at all.

use std::fs;

use anyhow::{Context as _, Result};

const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const BUCKETS: &str = "/sys/module/nf_conntrack/parameters/hashsize";

/// Connections that netfilter tracks at most; none where the kernel has no connection tracking.
pub fn connections() -> Option<u32> {
    fs::read_to_string(MAX).ok()?.trim().parse().ok()
}

/// The limits of the machine, raised; dropping it sets them back.
#[derive(Debug)]
pub struct Raised {
    before: Vec<(&'static str, String)>,
}

impl Raised {
    /// Room for so many connections, with a bucket of the hash table for each, as netfilter has by default.
    pub fn to(connections: u32) -> Result<Self> {
        let mut raised = Self { before: Vec::new() };
        for path in [MAX, BUCKETS] {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
            let before: u32 = text.trim().parse().with_context(|| format!("{path} is {text}"))?;
            if before < connections {
                fs::write(path, connections.to_string())
                    .with_context(|| format!("cannot set {path} to {connections}"))?;
                raised.before.push((path, text));
            }
        }
        Ok(raised)
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        for (path, before) in self.before.iter().rev() {
            if let Err(error) = fs::write(path, before) {
                eprintln!("bench: cannot set {path} back to {}: {error}", before.trim());
            }
        }
    }
}
