//! The interfaces that take frames from XDP.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use aya::maps::MapError;
use natbpf_common::IfIndex;

use super::Tables;

impl Tables {
    /// Has these interfaces take frames from XDP, and no others. To be looked up in the network namespace of
    /// the calling thread.
    pub fn set_targets(&mut self, targets: &BTreeSet<IfIndex>) -> Result<()> {
        let known = self.targets()?;
        for &interface in known.difference(targets) {
            // It goes with its interface.
            let _ = self.targets.remove(interface.number());
        }
        for &interface in targets.difference(&known) {
            // It may be gone by now; what is to come by this path takes that by TC.
            if let Err(error) = self.targets.insert(interface.number(), interface.number(), None, 0) {
                tracing::debug!("interface {interface} takes no frames from XDP: {error}");
            }
        }
        Ok(())
    }

    /// Takes out those that are not among these.
    pub fn keep_targets(&mut self, targets: &BTreeSet<IfIndex>) -> Result<()> {
        let kept = self.targets()?.intersection(targets).copied().collect();
        self.set_targets(&kept)
    }

    /// Interfaces that take frames from XDP.
    pub fn targets(&self) -> Result<BTreeSet<IfIndex>> {
        let targets = self.targets.keys().map(|interface| Ok::<_, MapError>(IfIndex::new(interface?)));
        targets.collect::<Result<_, _>>().context("cannot read who takes frames from XDP")
    }
}
