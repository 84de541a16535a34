//! Paths by edge.

use serde::Serialize;

use crate::paths::Load;

/// An edge, and the paths that hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EdgeStatus {
    pub name: String,
    /// Interface index.
    pub interface: u32,
    /// Paths of packets that come in by it.
    pub paths_in: u64,
    /// Paths of packets that leave by it.
    pub paths_out: u64,
    /// Packets that came in by it and were repeated, as those paths have counted.
    pub packets: u64,
}

impl EdgeStatus {
    pub const fn new(name: String, interface: u32, load: Load) -> Self {
        let Load { comes, leaves, packets } = load;
        Self { name, interface, paths_in: comes, paths_out: leaves, packets }
    }

    pub fn row(&self) -> Vec<String> {
        let numbers = [u64::from(self.interface), self.paths_in, self.paths_out, self.packets];
        [vec![self.name.clone()], numbers.map(|number| number.to_string()).to_vec()].concat()
    }
}
