//! Addresses, routes and the rules that choose a table.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia},
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};

/// `RT_TABLE_MAIN`, `RT_TABLE_LOCAL` (linux/rtnetlink.h)
const MAIN: u32 = 254;
const LOCAL: u32 = 255;

/// An address of a device, with the length of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index of the device.
    pub device: u32,
    /// The address itself, not that of the network.
    pub net: IpNet,
}

/// A route of unicast, or one that refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub table: u32,
    pub destination: IpNet,
    pub hops: Vec<Hop>,
    pub metric: u32,
    /// It says blackhole, unreachable, prohibit or throw.
    pub refuses: bool,
    /// Which of these, or `unicast`.
    pub kind: &'static str,
    /// The address that the host itself sends from.
    pub source: Option<IpAddr>,
}

/// One of its ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Index of the device.
    pub device: u32,
    /// Without one the destination itself is asked for.
    pub gateway: Option<IpAddr>,
}

/// What a rule asks of a packet's mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub value: u32,
    pub mask: u32,
}

/// A rule of the routing policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub v6: bool,
    pub priority: u32,
    pub source: Option<IpNet>,
    pub destination: Option<IpNet>,
    pub input: Option<String>,
    pub output: Option<String>,
    /// The mark that it is for, and which bits of it count.
    pub mark: Option<Mark>,
    /// It is for what does not match: `not`.
    pub inverted: bool,
    /// It is about ports and the like.
    pub special: bool,
    /// It leads what comes by a VRF to that one's table.
    pub of_vrf: bool,
    /// The table that it leads to.
    pub table: Option<u32>,
    /// Routes of its table whose prefix is not longer than this do not count.
    pub suppress: Option<u32>,
    /// It refuses, and says so in this way.
    pub refuses: Option<&'static str>,
}

impl Route {
    pub const fn is_main(&self) -> bool {
        self.table == MAIN
    }

    pub const fn is_local(&self) -> bool {
        self.table == LOCAL
    }

    pub fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
    }
}

impl Mark {
    /// Whether a packet has it that may have these bits and no others; `None`: that depends.
    pub const fn is_had(self, bits: u32) -> Option<bool> {
        let Self { value, mask } = self;
        if value & mask & !bits != 0 {
            return Some(false);
        }
        if mask & bits == 0 { Some(true) } else { None }
    }
}

impl Rule {
    /// Whether it is one that every host has.
    pub const fn is_usual(&self) -> bool {
        matches!((self.priority, self.table), (0, Some(LOCAL)) | (32766, Some(MAIN)) | (32767, Some(253)))
    }
}

/// As `ip rule add` takes it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inverted {
            f.write_str("not ")?;
        }
        match self.source {
            Some(source) => write!(f, "from {source}")?,
            None => f.write_str("from all")?,
        }
        if let Some(destination) = self.destination {
            write!(f, " to {destination}")?;
        }
        match self.mark {
            Some(Mark { value, mask: u32::MAX }) => write!(f, " fwmark {value:#x}")?,
            Some(Mark { value, mask }) => write!(f, " fwmark {value:#x}/{mask:#x}")?,
            None => {}
        }
        if let Some(input) = &self.input {
            write!(f, " iif {input}")?;
        }
        match (self.table, self.refuses) {
            (Some(table), _) => write!(f, " lookup {table}"),
            (None, Some(refuses)) => write!(f, " {refuses}"),
            (None, None) => Ok(()),
        }
    }
}

/// As `ip route show` begins its line.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.refuses {
            write!(f, "{} ", self.kind)?;
        }
        if self.is_default() { f.write_str("default") } else { write!(f, "{}", self.destination) }
    }
}

/// The addresses that a route makes the host's own.
pub fn local(message: &RouteMessage) -> Option<IpNet> {
    let destination = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    })?;
    let own = message.header.kind == RouteType::Local;
    IpNet::new(destination, message.header.destination_prefix_length).ok().filter(|_| own)
}

pub fn address(message: &AddressMessage) -> Option<Address> {
    // Of a pair of addresses the local one is the device's own.
    let find = |local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) if local => Some(*address),
            AddressAttribute::Address(address) if !local => Some(*address),
            _ => None,
        })
    };
    let net = IpNet::new(find(true).or_else(|| find(false))?, message.header.prefix_len).ok()?;
    Some(Address { device: message.header.index, net })
}

pub fn route(message: &RouteMessage) -> Option<Route> {
    let v6 = match message.header.address_family {
        AddressFamily::Inet => false,
        AddressFamily::Inet6 => true,
        _ => return None,
    };
    let kind = match message.header.kind {
        RouteType::Unicast => "unicast",
        RouteType::BlackHole => "blackhole",
        RouteType::Unreachable => "unreachable",
        RouteType::Prohibit => "prohibit",
        RouteType::Throw => "throw",
        _ => return None,
    };
    let nowhere = if v6 { IpAddr::from([0; 16]) } else { IpAddr::from([0; 4]) };
    let mut route = Route {
        table: message.header.table.into(),
        destination: IpNet::new(nowhere, 0).ok()?,
        hops: Vec::new(),
        metric: 0,
        refuses: kind != "unicast",
        kind,
        source: None,
    };
    let (mut device, mut gateway) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Destination(address) => {
                route.destination =
                    IpNet::new(ip(address)?, message.header.destination_prefix_length).ok()?.trunc();
            }
            RouteAttribute::Oif(index) => device = Some(*index),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Via(via) => gateway = through(via),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::PrefSource(address) => route.source = ip(address),
            RouteAttribute::MultiPath(hops) => {
                route.hops.extend(hops.iter().map(|hop| {
                    let gateway = hop.attributes.iter().find_map(|attribute| match attribute {
                        RouteAttribute::Gateway(address) => ip(address),
                        RouteAttribute::Via(via) => through(via),
                        _ => None,
                    });
                    Hop { device: hop.interface_index, gateway }
                }));
            }
            _ => {}
        }
    }
    route.hops.extend(device.map(|device| Hop { device, gateway }));
    Some(route)
}

const fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

const fn through(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(address) => Some(IpAddr::V4(*address)),
        RouteVia::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

pub fn rule(message: &RuleMessage) -> Rule {
    let mut rule = Rule {
        v6: message.header.family == AddressFamily::Inet6,
        priority: 0,
        source: None,
        destination: None,
        input: None,
        output: None,
        mark: None,
        inverted: message.header.flags.contains(RuleFlags::Invert),
        // A goto leads past others.
        special: message.header.action == RuleAction::Goto || message.header.tos != 0,
        of_vrf: false,
        table: Some(message.header.table.into()),
        suppress: None,
        refuses: match message.header.action {
            RuleAction::Blackhole => Some("blackhole"),
            RuleAction::Unreachable => Some("unreachable"),
            RuleAction::Prohibit => Some("prohibit"),
            _ => None,
        },
    };
    // The kernel shows either if one of the two is not 0.
    let mut mark = Mark { value: 0, mask: 0 };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(table) => rule.table = Some(*table),
            RuleAttribute::Source(address) => rule.source = IpNet::new(*address, message.header.src_len).ok(),
            RuleAttribute::Destination(address) => {
                rule.destination = IpNet::new(*address, message.header.dst_len).ok();
            }
            RuleAttribute::Iifname(name) => rule.input = Some(name.clone()),
            RuleAttribute::Oifname(name) => rule.output = Some(name.clone()),
            RuleAttribute::FwMark(value) => mark.value = *value,
            RuleAttribute::FwMask(mask) => mark.mask = *mask,
            // The kernel says -1 where there is none.
            RuleAttribute::SuppressPrefixLen(length) => {
                rule.suppress = Some(*length).filter(|length| *length != u32::MAX);
            }
            RuleAttribute::UidRange(_)
            | RuleAttribute::SuppressIfGroup(_)
            | RuleAttribute::IpProtocol(_)
            | RuleAttribute::SourcePortRange(_)
            | RuleAttribute::DestinationPortRange(_)
            | RuleAttribute::TunId(_) => rule.special = true,
            RuleAttribute::L3MDev(true) => (rule.of_vrf, rule.table) = (true, None),
            _ => {}
        }
    }
    rule.mark = Some(mark).filter(|mark| mark.value | mark.mask != 0);
    rule.table = rule.table.filter(|_| message.header.action == RuleAction::ToTable);
    rule
}
