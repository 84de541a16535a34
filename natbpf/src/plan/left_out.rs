//! Interfaces that are meant and cannot be had. They are no reason to give up the rest.

use natbpf_common::IfIndex;

use crate::{datapath::Role, network::Link};

/// An interface that is meant and cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub name: String,
    /// Interface index.
    pub interface: IfIndex,
    pub role: Role,
    pub reason: String,
}

/// Notes one, once in each role.
pub fn leave_out(all: &mut Vec<LeftOut>, link: &Link, role: Role, reason: String) {
    if !all.iter().any(|left| (left.interface, left.role) == (link.index, role)) {
        all.push(LeftOut { name: link.name.clone(), interface: link.index, role, reason });
    }
}
