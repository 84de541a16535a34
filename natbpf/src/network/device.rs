//! What the devices and their drivers can do: by the generic netlink family `netdev` (Linux 6.3 and later) and
//! by ethtool(8)'s requests.

use std::{collections::BTreeMap, io};

use rtnetlink::sys::protocols::NETLINK_GENERIC;

use natbpf_common::IfIndex;

use super::{Link, ethtool::Ethtool};
use crate::netlink::{
    DUMP, GENERIC_HEADER, GenericFamily,
    message::{attribute, u32_at},
    request,
};

/// `NETDEV_CMD_DEV_GET`, `NETDEV_A_DEV_IFINDEX`, `NETDEV_A_DEV_XDP_FEATURES` (linux/netdev.h)
const DEVICE_GET: u8 = 1;
const INTERFACE: u16 = 1;
const XDP_FEATURES: u16 = 3;

/// What a driver says of XDP: `enum netdev_xdp_act` (linux/netdev.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    pub const BASIC: u64 = 1;
    pub const REDIRECT: u64 = 1 << 1;
    pub const TRANSMIT: u64 = 1 << 2;

    /// A program can run in it and redirect.
    pub const fn is_native(self) -> bool {
        let needed = Self::BASIC | Self::REDIRECT;
        self.0 & needed == needed
    }

    /// It sends frames that others redirect to it, as things are now.
    pub const fn takes_frames(self) -> bool {
        self.0 & Self::TRANSMIT != 0
    }
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Name of the driver, if it says it.
    pub driver: Option<String>,
    /// `None`: the kernel does not tell.
    pub xdp: Option<Features>,
    /// VLAN tags are not in the frames any more when XDP sees them.
    pub strips_tags: bool,
}

/// What is known of devices. What cannot be asked is left out.
pub fn devices(links: &[Link]) -> BTreeMap<IfIndex, Device> {
    let features = features();
    let ethtool = Ethtool::open().ok();
    let device = |link: &Link| Device {
        driver: ethtool.as_ref().and_then(|ethtool| ethtool.driver(&link.name)),
        xdp: features.as_ref().map(|known| known.get(&link.index).copied().unwrap_or_default()),
        strips_tags: ethtool.as_ref().is_some_and(|ethtool| ethtool.strips_tags(&link.name)),
    };
    links.iter().map(|link| (link.index, device(link))).collect()
}

/// What each device can do with XDP, by interface index. `None`: the kernel does not tell.
pub fn features() -> Option<BTreeMap<IfIndex, Features>> {
    ask().map_err(|error| tracing::debug!("the kernel does not tell which devices have XDP: {error}")).ok()
}

fn ask() -> io::Result<BTreeMap<IfIndex, Features>> {
    let family = GenericFamily::find("netdev")?;
    let devices = request(NETLINK_GENERIC, family.number, DUMP, &[DEVICE_GET, 1, 0, 0], device_features)?;
    Ok(devices.into_iter().collect())
}

fn device_features(body: &[u8]) -> Option<(IfIndex, Features)> {
    let attributes = body.get(GENERIC_HEADER..)?;
    let features = attribute(attributes, XDP_FEATURES)?.first_chunk()?;
    let interface = IfIndex::new(u32_at(attribute(attributes, INTERFACE)?, 0)?);
    Some((interface, Features(u64::from_ne_bytes(*features))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::build;

    #[test]
    fn a_message_says_what_a_device_can_do() {
        let body = |features: u64| {
            let interface = build::attribute(INTERFACE, &7u32.to_ne_bytes());
            [vec![DEVICE_GET, 1, 0, 0], interface, build::attribute(XDP_FEATURES, &features.to_ne_bytes())]
                .concat()
        };
        let (interface, features) = device_features(&body(3)).unwrap();
        assert_eq!(
            (interface, features.is_native(), features.takes_frames()),
            (IfIndex::new(7), true, false)
        );
        let (_, features) = device_features(&body(5)).unwrap();
        assert_eq!((features.is_native(), features.takes_frames()), (false, true));
        assert_eq!(device_features(&body(3)[..12]), None);
    }

    #[test]
    fn the_loopback_has_no_xdp_of_its_own() {
        let links = [Link { index: IfIndex::new(1), name: "lo".to_owned(), ..Link::default() }];
        let devices = devices(&links);
        assert!(devices[&IfIndex::new(1)].xdp.is_none_or(|features| !features.is_native()), "{devices:?}");
    }
}
