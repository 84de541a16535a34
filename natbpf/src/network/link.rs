//! Interfaces, and what a message says of one.

use natbpf_common::IfIndex;
use netlink_packet_route::link::{InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp};

use super::Number;

/// `ARPHRD_RAWIP`: modems that speak bare IP (linux/if_arp.h).
const ARPHRD_RAWIP: u16 = 519;

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: IfIndex,
    pub name: String,
    /// `IFF_UP`: administratively up, whatever the carrier.
    pub up: bool,
    /// `IFF_LOWER_UP`: frames get out.
    pub running: bool,
    /// `ARPHRD_` number of the link layer.
    pub link_layer: u16,
    /// Kind of a virtual interface, such as `veth`.
    pub kind: Option<String>,
    /// MAC address, where the link layer has one of six bytes.
    pub mac: Option<[u8; 6]>,
    /// It is a port of a bridge, a bond or the like, so no address of it is ever used. (Those of a VRF keep theirs.)
    pub port: bool,
    /// Interface index of the bridge, bond or the like that it is a port of.
    pub master: Option<IfIndex>,
    /// Interface index of the one below, such as a VLAN's, if it is in the same network namespace.
    pub lower: Option<IfIndex>,
    /// The one below, or the other end of the pair, is in another network namespace.
    pub abroad: bool,
    /// The number by which this namespace knows that one.
    pub leads_to: Option<Number>,
    /// Packets wait in a queueing discipline before they leave by it (tc(8)); most virtual interfaces have none.
    pub queue: bool,
    /// It takes packets that are to be summed and cut; asked only of those whose other end is elsewhere.
    pub takes_unfinished: bool,
    /// The kernel's number of the XDP program on it.
    pub xdp: Option<u32>,
}

impl Link {
    /// Whether it is a virtual interface of this kind.
    pub fn is(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }

    /// Length of the link layer header in bytes: 14 with Ethernet, 0 without any; `None` for others, which
    /// natbpf does not know.
    pub const fn link_header(&self) -> Option<u32> {
        match self.link_layer {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Some(14),
            libc::ARPHRD_NONE
            | libc::ARPHRD_PPP
            | ARPHRD_RAWIP
            | libc::ARPHRD_TUNNEL
            | libc::ARPHRD_SIT
            | libc::ARPHRD_IPGRE => Some(0),
            _ => None,
        }
    }
}

pub fn link(message: LinkMessage) -> Link {
    let mut link = Link {
        index: IfIndex::new(message.header.index),
        up: message.header.flags.contains(LinkFlags::Up),
        running: message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        link_layer: message.header.link_layer_type.into(),
        ..Link::default()
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(address) => link.mac = address.try_into().ok(),
            // The latter is that of an interface that is down.
            LinkAttribute::Qdisc(name) => link.queue = !matches!(&*name, "noqueue" | "noop"),
            LinkAttribute::Xdp(attributes) => {
                link.xdp = attributes.iter().find_map(|attribute| match attribute {
                    LinkXdp::ProgId(program) => Some(*program),
                    _ => None,
                });
            }
            LinkAttribute::Controller(master) => link.master = Some(IfIndex::new(master)),
            LinkAttribute::Link(lower) => link.lower = Some(IfIndex::new(lower)),
            LinkAttribute::LinkNetNsId(number) => (link.abroad, link.leads_to) = (true, Some(number)),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
                        LinkInfo::PortKind(kind) => link.port = kind != InfoPortKind::Vrf,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    // Numbers of another namespace mean something else here.
    link.lower = link.lower.filter(|_| !link.abroad);
    link
}
