//! Lines for people: what comes in, what leaves, and what of it is different.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use natbpf_common::wire::protocol::{TCP, UDP};

use super::{Ends, Shown};
use crate::flows::protocol_name;

/// `vnet0 tcp 10.0.0.11:5000 > 198.51.100.2:443  becomes  eth0 203.0.113.1:5000 > 198.51.100.2:443  1 hop …`
#[derive(Debug)]
pub struct Line<'a>(pub &'a Shown);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0;
        write!(f, "{} ", path.comes.edge)?;
        match protocol_name(path.protocol_number) {
            "unknown" => write!(f, "protocol {}", path.protocol_number)?,
            name => f.write_str(name)?,
        }
        f.write_str(" ")?;
        write_ends(f, path, &path.comes)?;
        write!(f, "  becomes  {} ", path.leaves.edge)?;
        write_ends(f, path, &path.leaves)?;
        let hops = if path.hops == 1 { "hop" } else { "hops" };
        write!(f, "  {} {hops}, {} packets, {} bytes", path.hops, path.packets, path.bytes)?;
        write!(f, ", {} s old, asks again in {} s", path.age_seconds, path.asks_in_seconds)
    }
}

fn write_ends(f: &mut fmt::Formatter<'_>, path: &Shown, ends: &Ends) -> fmt::Result {
    let end = |address: IpAddr, port: u16| match path.protocol_number {
        TCP | UDP => SocketAddr::new(address, port).to_string(),
        _ => address.to_string(),
    };
    write!(f, "{} > {}", end(ends.source, ends.source_port), end(ends.destination, ends.destination_port))?;
    ends.vlan.map_or(Ok(()), |vlan| write!(f, " vlan {vlan}"))
}
