//! Where XDP is, and where it could not be had.

use natbpf_common::IfIndex;
use std::collections::{BTreeMap, BTreeSet};

use crate::datapath::Role;

/// What the daemon knows of it.
#[derive(Debug, Default)]
pub struct XdpState {
    /// Where this daemon has put its programs.
    pub ours: BTreeSet<(IfIndex, Role)>,
    /// Where XDP could not be had, and why. Asked again when the configuration is read again, and when the
    /// interface has gone.
    pub refused: BTreeMap<(IfIndex, Role), String>,
    /// What the operator was told.
    pub said: BTreeMap<(IfIndex, Role), String>,
}

impl XdpState {
    /// The numbers of interfaces that are gone may be others' soon.
    pub fn forget(&mut self, gone: &BTreeSet<IfIndex>) {
        self.ours.retain(|(interface, _)| !gone.contains(interface));
        self.refused.retain(|(interface, _), _| !gone.contains(interface));
        self.said.retain(|(interface, _), _| !gone.contains(interface));
    }
}
