//! What is known of the paths of packets, as commands show it.

mod connections;
mod edges;
mod format;
mod shown;

pub use connections::{Connection, Trackers, connections};
pub use edges::{Load, by_edge};
pub use format::Line;
pub use shown::{Ends, Shown, Shows};

use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;
use natbpf_common::{
    IfIndex, Timestamp,
    wire::protocol::{TCP, UDP},
};

use crate::datapath::Tables;

/// Which paths a command is about; everything that is given has to match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathFilter {
    /// Where packets come in, or leave.
    pub edge: Option<String>,
    pub protocol: Option<u8>,
    pub source: Option<IpNet>,
    pub destination: Option<IpNet>,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
}

impl PathFilter {
    /// Compares with the tuple as it comes in, or as it leaves.
    pub fn matches(&self, path: &Shown) -> bool {
        let edge =
            self.edge.as_ref().is_none_or(|edge| [&path.comes.edge, &path.leaves.edge].contains(&edge));
        edge && self.protocol.is_none_or(|protocol| protocol == path.protocol_number)
            && (self.fits(path, &path.comes) || self.fits(path, &path.leaves))
    }

    fn fits(&self, path: &Shown, ends: &Ends) -> bool {
        let ports = matches!(path.protocol_number, TCP | UDP);
        let within = |network: Option<IpNet>, address: IpAddr| {
            network.is_none_or(|network| network.contains(&address))
        };
        let port = |wanted: Option<u16>, port| wanted.is_none_or(|wanted| ports && wanted == port);
        within(self.source, ends.source)
            && within(self.destination, ends.destination)
            && port(self.sport, ends.source_port)
            && port(self.dport, ends.destination_port)
    }
}

/// Calls back for every path that holds, with what ends it.
pub fn each(
    tables: &Tables,
    now: Timestamp,
    name: impl Fn(IfIndex) -> String,
    mut each: impl FnMut(Shown, &dyn Fn()),
) -> Result<()> {
    let (four, six, epoch) = tables.paths()?;
    four.each(now, |path, end| {
        Shown::of(path, now, epoch, &name).into_iter().for_each(|shown| each(shown, end));
    });
    six.each(now, |path, end| {
        Shown::of(path, now, epoch, &name).into_iter().for_each(|shown| each(shown, end));
    });
    Ok(())
}
