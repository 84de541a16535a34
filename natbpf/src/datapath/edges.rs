//! The table of edges: inside ports, and uplinks.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use natbpf_common::{
    IfIndex,
    contract::edges::{Edge, EdgeFlags},
};

use super::Tables;

impl Tables {
    /// Enters inside ports, by interface index, or changes what is known of them. To be done before programs are
    /// attached to them. True: something has changed, which paths that lead there do not know.
    pub fn add_ports(&mut self, ports: &BTreeMap<IfIndex, Edge>) -> Result<bool> {
        let known = self.ports()?;
        let mut changed = false;
        for (interface, port) in ports {
            if known.get(interface) != Some(port) {
                self.add_edge(*interface, *port)?;
                changed |= known.contains_key(interface);
            }
        }
        Ok(changed)
    }

    /// Enters one, before programs are attached to it.
    pub fn add_edge(&mut self, interface: IfIndex, edge: Edge) -> Result<()> {
        self.edges.insert(interface, edge, 0).context("cannot write an edge")
    }

    /// Takes one out.
    pub fn remove_edge(&mut self, interface: IfIndex) {
        // It need not be there.
        let _ = self.edges.remove(&interface);
    }

    /// Takes out every port but these: the programs of the others are to come off.
    pub fn keep_ports(&mut self, ports: &BTreeMap<IfIndex, Edge>) -> Result<()> {
        for interface in self.ports()?.into_keys().filter(|interface| !ports.contains_key(interface)) {
            self.edges.remove(&interface).context("cannot remove an edge")?;
        }
        Ok(())
    }

    /// Has the uplinks be edges, and none but these.
    pub fn set_uplink_edges(&mut self, uplinks: &[IfIndex]) -> Result<()> {
        for (interface, edge) in self.edges()? {
            if edge.flags.contains(EdgeFlags::UPLINK) && !uplinks.contains(&interface) {
                self.remove_edge(interface);
            }
        }
        let uplink = Edge { flags: EdgeFlags::UPLINK };
        uplinks.iter().try_for_each(|interface| self.add_edge(*interface, uplink))
    }

    /// Those that are inside ports.
    pub fn ports(&self) -> Result<BTreeMap<IfIndex, Edge>> {
        let mut edges = self.edges()?;
        edges.retain(|_, edge| !edge.flags.contains(EdgeFlags::UPLINK));
        Ok(edges)
    }

    /// All of them.
    pub fn edges(&self) -> Result<BTreeMap<IfIndex, Edge>> {
        self.edges.iter().collect::<Result<_, _>>().context("cannot read the edges")
    }
}
