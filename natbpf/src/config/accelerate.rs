//! Between which devices natbpf repeats what the host does.

use super::Interfaces;

/// The devices by which packets of instances enter and leave the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edges {
    /// Network cards, TAPs, and veth pairs into other network namespaces.
    Found,
    /// These.
    Named(Vec<Interfaces>),
}
