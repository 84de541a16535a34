//! Interfaces: whether a message says anything new about one that matters to packets.

use natbpf_common::IfIndex;
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use super::source::Source;
use crate::netlink::message::{Message, attribute, attributes, u32_at};

/// Bytes of a `struct ifinfomsg` (rtnetlink(7)).
const HEADER: usize = 16;

/// What tools that look at packets switch (`IFF_PROMISC`, `IFF_ALLMULTI`).
const IGNORED_FLAGS: u32 = (libc::IFF_PROMISC | libc::IFF_ALLMULTI) as u32;

/// `IFLA_XDP` (linux/if_link.h)
const XDP: u16 = 43;

/// `IFLA_BR_VLAN_FILTERING` and `IFLA_BR_VLAN_PROTOCOL`, beside which are timers. Row B17.
const BRIDGE_DATA: [u16; 2] = [7, 8];

/// The attributes that matter. Others are statistics, or say nothing about where packets go.
const ATTRIBUTES: [u16; 9] = [
    libc::IFLA_ADDRESS,
    libc::IFLA_IFNAME,
    libc::IFLA_MTU,
    libc::IFLA_LINK,
    libc::IFLA_MASTER,
    libc::IFLA_OPERSTATE,
    libc::IFLA_CARRIER,
    libc::IFLA_LINK_NETNSID,
    XDP,
];

/// The interfaces, each by its index and a hash of what matters.
#[derive(Debug, Default)]
pub struct Links {
    known: HashMap<IfIndex, u64>,
}

impl Links {
    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// Which one a message is about.
    pub fn source(message: Message<'_>) -> Option<Source> {
        u32_at(message.body, 4).map(IfIndex::new).map(Source::Link)
    }

    /// Takes over what a message says; true: that is something new.
    pub fn learn(&mut self, message: Message<'_>, limit: usize) -> bool {
        let (Some(&family), Some(index)) = (message.body.first(), u32_at(message.body, 4).map(IfIndex::new))
        else {
            return true;
        };
        // A bridge about its port: that it is blocked, isolated, or no port any more. Rows B21, B26.
        if libc::c_int::from(family) == libc::AF_BRIDGE {
            return true;
        }
        if message.kind == libc::RTM_DELLINK {
            self.known.remove(&index);
            return true;
        }
        let Some(print) = fingerprint(message.body) else { return true };
        if self.known.len() >= limit && !self.known.contains_key(&index) {
            self.known.clear();
        }
        self.known.insert(index, print) != Some(print)
    }
}

fn fingerprint(body: &[u8]) -> Option<u64> {
    let flags = u32_at(body, 8)? & !IGNORED_FLAGS;
    let mut hasher = DefaultHasher::new();
    flags.hash(&mut hasher);
    for (number, value) in attributes(body.get(HEADER..)?) {
        if ATTRIBUTES.contains(&number) {
            (number, value).hash(&mut hasher);
        } else if number == libc::IFLA_LINKINFO {
            attribute(value, libc::IFLA_INFO_KIND).hash(&mut hasher);
            if attribute(value, libc::IFLA_INFO_KIND).is_some_and(|kind| kind.starts_with(b"bridge")) {
                let data = attribute(value, libc::IFLA_INFO_DATA).unwrap_or_default();
                BRIDGE_DATA.map(|number| attribute(data, number)).hash(&mut hasher);
            }
        }
    }
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::{build, messages};

    const STATS: u16 = 7;

    struct Link {
        family: libc::c_int,
        index: u32,
        flags: libc::c_int,
        attributes: Vec<Vec<u8>>,
    }

    fn link(index: u32) -> Link {
        let attributes = vec![
            build::attribute(libc::IFLA_IFNAME, b"eth0\0"),
            build::attribute(libc::IFLA_MTU, &1500u32.to_ne_bytes()),
        ];
        Link { family: libc::AF_UNSPEC, index, flags: libc::IFF_UP, attributes }
    }

    impl Link {
        fn message(&self, kind: u16) -> Vec<u8> {
            let mut body = vec![self.family as u8, 0, 1, 0];
            body.extend(self.index.to_ne_bytes());
            body.extend(self.flags.to_ne_bytes());
            body.extend([0; 4]);
            body.extend(self.attributes.concat());
            build::message(kind, 0, &body)
        }

        fn with(mut self, number: u16, value: &[u8]) -> Self {
            self.attributes.push(build::attribute(number, value));
            self
        }
    }

    fn learn(links: &mut Links, link: &Link) -> bool {
        let bytes = link.message(libc::RTM_NEWLINK);
        links.learn(messages(&bytes).next().unwrap().unwrap(), 100)
    }

    #[test]
    fn the_same_again_is_nothing_new() {
        let mut links = Links::default();
        assert!(learn(&mut links, &link(3)));
        assert!(!learn(&mut links, &link(3)));
        assert!(learn(&mut links, &link(4)));
        assert!(!learn(&mut links, &link(3).with(STATS, &[9; 96])), "statistics");
        let watched = Link { flags: libc::IFF_UP | libc::IFF_PROMISC, ..link(3) };
        assert!(!learn(&mut links, &watched), "somebody looks at packets");
    }

    #[test]
    fn what_matters_to_packets_is_new() {
        let changes = [
            Link { flags: 0, ..link(3) },
            link(3).with(libc::IFLA_MASTER, &7u32.to_ne_bytes()),
            link(3).with(libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 9]),
            link(3).with(libc::IFLA_CARRIER, &[0]),
            link(3).with(libc::IFLA_OPERSTATE, &[2]),
            link(3).with(XDP, &[5, 0, 2, 0, 1, 0, 0, 0]),
            Link { family: libc::AF_BRIDGE, ..link(3) },
        ];
        for change in changes {
            let mut links = Links::default();
            learn(&mut links, &link(3));
            assert!(learn(&mut links, &change), "{:?}", change.attributes);
        }
    }

    #[test]
    fn of_a_bridge_the_filter_matters_and_not_its_timers() {
        let bridge = |filtering: u8, timer: u8| {
            let data =
                [build::attribute(7, &[filtering]), build::attribute(19, &[timer, 0, 0, 0, 0, 0, 0, 0])]
                    .concat();
            let info = [
                build::attribute(libc::IFLA_INFO_KIND, b"bridge"),
                build::attribute(libc::IFLA_INFO_DATA, &data),
            ];
            link(5).with(libc::IFLA_LINKINFO, &info.concat())
        };
        let mut links = Links::default();
        learn(&mut links, &bridge(0, 1));
        assert!(!learn(&mut links, &bridge(0, 2)));
        assert!(learn(&mut links, &bridge(1, 2)));
    }

    #[test]
    fn one_that_is_gone_is_new_when_it_comes_back() {
        let mut links = Links::default();
        learn(&mut links, &link(3));
        let gone = link(3).message(libc::RTM_DELLINK);
        assert!(links.learn(messages(&gone).next().unwrap().unwrap(), 100));
        assert!(learn(&mut links, &link(3)));
    }
}
