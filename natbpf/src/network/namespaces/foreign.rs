//! The devices of other namespaces, as far as they say where packets go.

use std::{collections::BTreeMap, io};

use rtnetlink::sys::protocols::NETLINK_ROUTE;

use super::number::Number;
use crate::netlink::{
    DUMP,
    message::{attribute, attributes, build, u32_at},
    request,
};

/// Bytes of a `struct ifinfomsg` (rtnetlink(7)).
const HEADER: usize = 16;

/// `IFLA_EXT_MASK`, with `RTEXT_FILTER_SKIP_STATS`; `IFLA_TARGET_NETNSID`, `IFLA_XDP` and in it `IFLA_XDP_PROG_ID`
/// (linux/if_link.h)
const MASK: u16 = 29;
const WITHOUT_STATISTICS: u32 = 8;
const TARGET: u16 = 46;
const XDP: u16 = 43;
const XDP_PROGRAM: u16 = 4;

/// A device of another namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    pub name: String,
    pub kind: Option<String>,
    /// The number of the namespace where its other end is, or what it lies on.
    pub leads_to: Option<Number>,
    /// Index of the bridge or the like that it is a port of.
    pub master: Option<u32>,
    index: u32,
    /// What waits on it, or looks at each packet, in words.
    pub obstacle: Option<String>,
}

impl Foreign {
    /// Where it leads. An internal port of Open vSwitch that was moved does not say it: it belongs to the switch, which
    /// is taken to be that of `switch`.
    pub fn leads(&self, switch: Option<Number>) -> Option<Number> {
        let moved = self.kind.as_deref() == Some("openvswitch") && self.name != "ovs-system";
        self.leads_to.or_else(|| switch.filter(|_| moved))
    }

    /// Whether packets that cross the namespace may pass it.
    fn is_passed(&self) -> bool {
        self.leads_to.is_some() || matches!(self.kind.as_deref(), Some("bridge" | "vlan" | "openvswitch"))
    }
}

/// What would have to see each packet, in words.
pub fn obstacle(devices: &[Foreign]) -> Option<String> {
    let mut passed = devices.iter().filter(|device| device.is_passed());
    passed.find_map(|device| device.obstacle.as_ref().map(|what| format!("{what} ({})", device.name)))
}

/// Those of a namespace with a number. Where they lead is told by numbers of the calling thread's namespace, which has
/// one for itself from then on if any leads there.
pub fn devices(of: Number) -> io::Result<Vec<Foreign>> {
    let target = build::attribute(TARGET, &of.to_ne_bytes());
    ask(&target)
}

/// Those of the calling thread's namespace, by its numbers.
pub fn own() -> io::Result<Vec<Foreign>> {
    ask(&[])
}

fn ask(more: &[u8]) -> io::Result<Vec<Foreign>> {
    let mask = build::attribute(MASK, &WITHOUT_STATISTICS.to_ne_bytes());
    let question = [&[0; HEADER], &*mask, more].concat();
    request(NETLINK_ROUTE, libc::RTM_GETLINK, DUMP, &question, device)
}

fn device(body: &[u8]) -> Option<Foreign> {
    let mut device = Foreign { index: u32_at(body, 4)?, ..Foreign::default() };
    let mut queue = None;
    for (number, value) in attributes(body.get(HEADER..)?) {
        match number {
            libc::IFLA_IFNAME => device.name = text(value),
            libc::IFLA_LINK_NETNSID => device.leads_to = u32_at(value, 0).map(u32::cast_signed),
            libc::IFLA_MASTER => device.master = u32_at(value, 0),
            libc::IFLA_LINKINFO => device.kind = attribute(value, libc::IFLA_INFO_KIND).map(text),
            libc::IFLA_QDISC => queue = Some(text(value)).filter(|name| !is_no_queue(name)),
            XDP => {
                let program = attribute(value, XDP_PROGRAM).and_then(|value| u32_at(value, 0));
                device.obstacle =
                    program.map(|number| format!("an XDP program (number {number}) is attached"));
            }
            _ => {}
        }
    }
    device.obstacle = queue.map(|name| format!("packets wait in a queue ({name})")).or(device.obstacle);
    Some(device)
}

/// Nor has a device that is down.
fn is_no_queue(name: &str) -> bool {
    matches!(name, "noqueue" | "noop")
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

/// Whether there is a bridge, or a switch like one, with two ports or more.
pub fn bridges(devices: &[Foreign]) -> bool {
    let mut ports: BTreeMap<u32, usize> = BTreeMap::new();
    for master in devices.iter().filter_map(|device| device.master) {
        *ports.entry(master).or_default() += 1;
    }
    // The others make one device of several.
    let joins = |device: &Foreign| matches!(device.kind.as_deref(), Some("bond" | "team" | "vrf"));
    devices.iter().any(|device| !joins(device) && ports.get(&device.index).is_some_and(|ports| *ports > 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(index: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![0; HEADER];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        body.extend(attributes.concat());
        body
    }

    fn port(index: u32, master: u32) -> Foreign {
        Foreign { index, master: Some(master), ..Foreign::default() }
    }

    #[test]
    fn a_message_says_where_a_device_leads() {
        let kind = build::attribute(libc::IFLA_INFO_KIND, b"veth\0");
        let body = body(
            7,
            &[
                build::attribute(libc::IFLA_IFNAME, b"qr\0"),
                build::attribute(libc::IFLA_LINK_NETNSID, &3i32.to_ne_bytes()),
                build::attribute(libc::IFLA_LINKINFO, &kind),
                build::attribute(libc::IFLA_QDISC, b"noqueue\0"),
            ],
        );
        let wanted = Foreign {
            name: "qr".to_owned(),
            kind: Some("veth".to_owned()),
            leads_to: Some(3),
            index: 7,
            ..Foreign::default()
        };
        assert_eq!(device(&body), Some(wanted));
        assert_eq!(device(&body[..12]), None);
    }

    #[test]
    fn a_queue_and_xdp_are_obstacles() {
        let obstacle =
            |number, value: &[u8]| device(&body(7, &[build::attribute(number, value)])).unwrap().obstacle;
        assert!(obstacle(libc::IFLA_QDISC, b"tbf\0").unwrap().contains("tbf"));
        assert!(
            obstacle(XDP, &build::attribute(XDP_PROGRAM, &9u32.to_ne_bytes())).unwrap().contains("number 9")
        );
        assert_eq!(obstacle(libc::IFLA_QDISC, b"noop\0"), None);
    }

    #[test]
    fn a_bridge_joins_two_ports() {
        let bridge = |kind: &str| Foreign { index: 1, kind: Some(kind.to_owned()), ..Foreign::default() };
        assert!(bridges(&[bridge("bridge"), port(2, 1), port(3, 1)]));
        assert!(!bridges(&[bridge("bridge"), port(2, 1)]));
        assert!(!bridges(&[bridge("bond"), port(2, 1), port(3, 1)]));
        assert!(bridges(&[bridge("openvswitch"), port(2, 1), port(3, 1)]));
    }
}
