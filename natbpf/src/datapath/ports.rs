//! The table of inside ports.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use natbpf_common::{IfIndex, contract::inside::InsidePort};

use super::Tables;

impl Tables {
    /// Enters inside ports, by interface index, or changes what is known of them. To be done before programs are
    /// attached to them.
    pub fn add_ports(&mut self, ports: &BTreeMap<IfIndex, InsidePort>) -> Result<()> {
        let known = self.ports()?;
        for (interface, port) in ports {
            if known.get(interface) != Some(port) {
                self.ports.insert(interface, port, 0).context("cannot write an inside port")?;
            }
        }
        Ok(())
    }

    /// Enters one, before programs are attached to it.
    pub fn add_port(&mut self, interface: IfIndex, port: InsidePort) -> Result<()> {
        self.ports.insert(interface, port, 0).context("cannot write an inside port")
    }

    /// Takes one out.
    pub fn remove_port(&mut self, interface: IfIndex) {
        // It need not be there.
        let _ = self.ports.remove(&interface);
    }

    /// Takes out every port but these: the programs of the others are to come off.
    pub fn keep_ports(&mut self, ports: &BTreeMap<IfIndex, InsidePort>) -> Result<()> {
        for interface in self.ports()?.into_keys().filter(|interface| !ports.contains_key(interface)) {
            self.ports.remove(&interface).context("cannot remove an inside port")?;
        }
        Ok(())
    }

    /// All of them.
    pub fn ports(&self) -> Result<BTreeMap<IfIndex, InsidePort>> {
        self.ports.iter().collect::<Result<_, _>>().context("cannot read the inside ports")
    }
}
