//! Devices, bridges and their ports.

use std::fmt;

use netlink_packet_route::link::{
    AfSpecBridge, BridgePortState, BridgeStpState, BridgeVlanInfoFlags, InfoBridge, InfoBridgePort, InfoData,
    InfoPortData, InfoVlan, InfoVrf, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Stats64,
};

use crate::network::Number;

/// A network device.
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// Interface index, in its namespace.
    pub index: u32,
    pub name: String,
    /// Kind of a virtual one, such as `veth`.
    pub kind: Option<String>,
    /// `ARPHRD_` number of the link layer.
    pub link_layer: u16,
    /// `IFF_UP`: somebody has set it up.
    pub up: bool,
    /// `IFF_LOWER_UP`: frames get out.
    pub carrier: bool,
    /// It asks and answers by ARP: not `IFF_NOARP`.
    pub arp: bool,
    pub mtu: u32,
    pub mac: Option<[u8; 6]>,
    /// Index of the bridge, bond or VRF that it is in.
    pub master: Option<u32>,
    /// Index of the other end of its pair, or of the device that it lies on: in this namespace, if it leads to none.
    pub peer: Option<u32>,
    /// The number by which its namespace knows the one of `peer`.
    pub leads_to: Option<Number>,
    /// VLAN id of a VLAN device.
    pub vlan: Option<u16>,
    /// Routing table of a VRF.
    pub table: Option<u32>,
    pub bridge: Option<Bridge>,
    pub port: Option<Port>,
    /// Name of the queueing discipline at its root.
    pub qdisc: String,
    pub counters: Stats64,
    /// An XDP program is on it.
    pub xdp: bool,
}

/// What a bridge is set to.
#[derive(Clone, Debug, Default)]
pub struct Bridge {
    pub stp: bool,
    pub vlan_filtering: bool,
    /// It alone has iptables asked for what it passes on.
    pub calls_iptables: bool,
    /// VLANs of the bridge device itself.
    pub vlans: Vec<Vlan>,
}

/// A device as a port of a bridge.
#[derive(Clone, Debug, Default)]
pub struct Port {
    pub state: PortState,
    pub hairpin: bool,
    /// It sends nothing to other isolated ports.
    pub isolated: bool,
    /// It is locked to stations that the table has.
    pub locked: bool,
    pub learning: bool,
    /// What has no station in the table is sent there, too.
    pub flood: bool,
    pub vlans: Vec<Vlan>,
}

/// State of the spanning tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortState {
    Disabled,
    Listening,
    Learning,
    #[default]
    Forwarding,
    Blocking,
}

impl PortState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Listening => "listening",
            Self::Learning => "learning",
            Self::Forwarding => "forwarding",
            Self::Blocking => "blocking",
        }
    }
}

/// A VLAN that a port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    pub id: u16,
    /// Untagged frames that come in belong to it.
    pub pvid: bool,
    /// Its frames leave without a tag.
    pub untagged: bool,
}

/// As `bridge vlan` shows it.
impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        let flags = [(self.pvid, " PVID"), (self.untagged, " Egress Untagged")];
        flags.iter().filter(|(set, _)| *set).try_for_each(|(_, flag)| f.write_str(flag))
    }
}

impl Device {
    pub fn is(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }

    /// Whether instances or other machines may be behind it: it has Ethernet, and is not the loopback.
    pub const fn is_ethernet(&self) -> bool {
        self.link_layer == libc::ARPHRD_ETHER
    }

    /// The VLANs that it carries as a bridge or a port.
    pub fn vlans(&self) -> &[Vlan] {
        let of_bridge = self.bridge.as_ref().map(|bridge| &*bridge.vlans);
        of_bridge.or_else(|| self.port.as_ref().map(|port| &*port.vlans)).unwrap_or_default()
    }
}

/// `None`: the message is about no device of this family.
pub fn device(message: LinkMessage) -> Device {
    let flags = message.header.flags;
    let mut device = Device {
        index: message.header.index,
        link_layer: message.header.link_layer_type.into(),
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        arp: !flags.contains(LinkFlags::Noarp),
        ..Device::default()
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => device.name = name,
            LinkAttribute::Mtu(mtu) => device.mtu = mtu,
            LinkAttribute::Address(address) => device.mac = address.try_into().ok(),
            LinkAttribute::Controller(master) => device.master = Some(master),
            LinkAttribute::Link(peer) => device.peer = Some(peer).filter(|peer| *peer != 0),
            LinkAttribute::LinkNetNsId(number) => device.leads_to = Some(number),
            LinkAttribute::Qdisc(name) => device.qdisc = name,
            LinkAttribute::Stats64(counters) => device.counters = counters,
            LinkAttribute::Xdp(xdp) => {
                device.xdp = xdp
                    .iter()
                    .any(|xdp| matches!(xdp, netlink_packet_route::link::LinkXdp::ProgId(id) if *id != 0));
            }
            LinkAttribute::LinkInfo(infos) => infos.into_iter().for_each(|info| device.info(info)),
            _ => {}
        }
    }
    device
}

impl Device {
    fn info(&mut self, info: LinkInfo) {
        match info {
            LinkInfo::Kind(kind) => self.kind = Some(kind.to_string()),
            LinkInfo::Data(InfoData::Bridge(options)) => self.bridge = Some(bridge(&options)),
            LinkInfo::Data(InfoData::Vlan(options)) => {
                self.vlan = options.iter().find_map(|option| match option {
                    InfoVlan::Id(id) => Some(*id),
                    _ => None,
                });
            }
            LinkInfo::Data(InfoData::Vrf(options)) => {
                self.table = options.iter().find_map(|option| match option {
                    InfoVrf::TableId(table) => Some(*table),
                    _ => None,
                });
            }
            LinkInfo::PortData(InfoPortData::BridgePort(options)) => self.port = Some(port(&options)),
            _ => {}
        }
    }
}

fn bridge(options: &[InfoBridge]) -> Bridge {
    let mut bridge = Bridge::default();
    for option in options {
        match option {
            InfoBridge::StpState(state) => bridge.stp = *state != BridgeStpState::Disabled,
            InfoBridge::VlanFiltering(on) => bridge.vlan_filtering = *on,
            InfoBridge::NfCallIpTables(on) => bridge.calls_iptables = *on,
            _ => {}
        }
    }
    bridge
}

fn port(options: &[InfoBridgePort]) -> Port {
    let mut port = Port::default();
    for option in options {
        match option {
            InfoBridgePort::State(state) => {
                port.state = match state {
                    BridgePortState::Disabled => PortState::Disabled,
                    BridgePortState::Listening => PortState::Listening,
                    BridgePortState::Learning => PortState::Learning,
                    BridgePortState::Blocking => PortState::Blocking,
                    _ => PortState::Forwarding,
                }
            }
            InfoBridgePort::HairpinMode(on) => port.hairpin = *on,
            InfoBridgePort::Isolated(on) => port.isolated = *on,
            InfoBridgePort::Locked(on) => port.locked = *on,
            InfoBridgePort::Learning(on) => port.learning = *on,
            InfoBridgePort::UnicastFlood(on) => port.flood = *on,
            _ => {}
        }
    }
    port
}

/// The VLANs that a message of the family of bridges names, with the index of the device.
pub fn vlans(message: &LinkMessage) -> (u32, Vec<Vlan>) {
    let parts = message.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::AfSpecBridge(parts) => Some(parts),
        _ => None,
    });
    let infos = parts.flatten().filter_map(|part| match part {
        AfSpecBridge::VlanInfo(info) => Some(info),
        _ => None,
    });
    let mut vlans = Vec::new();
    let mut begin = 0;
    for info in infos {
        if info.flags.contains(BridgeVlanInfoFlags::RangeBegin) {
            begin = info.vid;
            continue;
        }
        let first = if info.flags.contains(BridgeVlanInfoFlags::RangeEnd) { begin } else { info.vid };
        vlans.extend((first..=info.vid).map(|id| Vlan {
            id,
            pvid: info.flags.contains(BridgeVlanInfoFlags::Pvid),
            untagged: info.flags.contains(BridgeVlanInfoFlags::Untagged),
        }));
    }
    (message.header.index, vlans)
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::BridgeVlanInfo;

    use super::*;

    fn message(infos: &[(u16, BridgeVlanInfoFlags)]) -> LinkMessage {
        let info = |(vid, flags): &(u16, BridgeVlanInfoFlags)| {
            AfSpecBridge::VlanInfo(BridgeVlanInfo { flags: *flags, vid: *vid })
        };
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.attributes.push(LinkAttribute::AfSpecBridge(infos.iter().map(info).collect()));
        message
    }

    #[test]
    fn ranges_of_vlans_are_all_of_them() {
        let (begin, end) = (BridgeVlanInfoFlags::RangeBegin, BridgeVlanInfoFlags::RangeEnd);
        let own = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
        let (index, read) =
            vlans(&message(&[(1, own), (10, begin), (12, end), (4094, begin | own), (4094, end)]));
        assert_eq!(index, 7);
        assert_eq!(read.iter().map(|vlan| vlan.id).collect::<Vec<_>>(), [1, 10, 11, 12, 4094]);
        assert_eq!(read[0].to_string(), "1 PVID Egress Untagged");
        assert_eq!(read[1].to_string(), "10");
    }

    #[test]
    fn who_has_no_vlans_has_none() {
        assert!(vlans(&message(&[])).1.is_empty());
        assert!(vlans(&LinkMessage::default()).1.is_empty());
    }
}
