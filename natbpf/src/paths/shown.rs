//! A path, with names in the place of numbers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use natbpf_common::{
    IfIndex, Timestamp,
    path::{cell::Path, cell::PathFlags},
    wire::family::{Family, V4, V6},
};
use serde::Serialize;

/// One path. Scripts rely on the names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    pub protocol_number: u8,
    /// Packets where they come in.
    pub comes: Ends,
    /// The same packets where they leave.
    pub leaves: Ends,
    /// Routers on the way: how much the time to live goes down.
    pub hops: u8,
    /// Straight into a container, past the hooks of its device.
    pub peer: bool,
    /// Longest packet, or segment of one, that the host has let through.
    pub longest: u16,
    pub packets: u64,
    pub bytes: u64,
    pub age_seconds: u64,
    /// Until the host is asked again.
    pub asks_in_seconds: u64,
}

/// Packets at an edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ends {
    pub edge: String,
    /// 802.1Q or 802.1ad, the number of the VLAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Or the identifier or type of an ICMP query; 0 for protocols without ports.
    pub source_port: u16,
    pub destination_port: u16,
}

/// A family whose addresses are shown.
pub trait Shows: Family {
    fn show(address: Self::Address) -> IpAddr;
}

impl Shows for V4 {
    fn show(address: Self::Address) -> IpAddr {
        Ipv4Addr::from(address).into()
    }
}

impl Shows for V6 {
    fn show(address: Self::Address) -> IpAddr {
        Ipv6Addr::from(address).into()
    }
}

impl Shown {
    /// `None`: it does not hold any more. `name` gives interfaces their names.
    pub fn of<F: Shows>(
        path: &Path<F>,
        now: Timestamp,
        epoch: u32,
        name: impl Fn(IfIndex) -> String,
    ) -> Option<Self> {
        if !Path::<F>::holds(path.until, path.epoch, now, epoch) {
            return None;
        }
        let vlan = |tag: u32| (tag != 0).then_some(tag as u16 & 0xfff);
        let (key, change, exit) = (&path.key, &path.change, &path.exit);
        let ticks = now.tick().number().wrapping_sub(path.since.number());
        Some(Self {
            protocol_number: key.protocol as u8,
            comes: Ends {
                edge: name(key.edge),
                vlan: vlan(key.vlan),
                source: F::show(key.source),
                destination: F::show(key.destination),
                source_port: key.source_port.number(),
                destination_port: key.destination_port.number(),
            },
            leaves: Ends {
                edge: name(exit.edge),
                vlan: vlan(exit.vlan),
                source: F::show(change.source),
                destination: F::show(change.destination),
                source_port: change.source_port.number(),
                destination_port: change.destination_port.number(),
            },
            hops: path.hops,
            peer: path.flags.contains(PathFlags::PEER),
            longest: path.size,
            packets: path.packets,
            bytes: path.bytes,
            age_seconds: (u64::from(ticks) << 20) / 1_000_000_000,
            asks_in_seconds: (path.until - now).number().div_ceil(1_000_000_000),
        })
    }
}
