//! Families of generic netlink, which have numbers only while the kernel runs (linux/genetlink.h).

use std::io;

use rtnetlink::sys::protocols::NETLINK_GENERIC;

use super::{
    message::{attribute, attributes, build, u16_at, u32_at},
    request::{REQUEST, request},
};

/// Bytes of a `struct genlmsghdr`.
pub const HEADER: usize = 4;

/// The family that knows the families: `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;

/// `CTRL_ATTR_FAMILY_ID`, `CTRL_ATTR_FAMILY_NAME`, `CTRL_ATTR_MCAST_GROUPS`, and in that for each group
/// `CTRL_ATTR_MCAST_GRP_NAME` and `CTRL_ATTR_MCAST_GRP_ID`.
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const GROUPS: u16 = 7;
const GROUP_NAME: u16 = 1;
const GROUP_ID: u16 = 2;

/// A family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenericFamily {
    /// What its messages have in the place of a type.
    pub number: u16,
    groups: Vec<(Vec<u8>, u32)>,
}

impl GenericFamily {
    /// Asks for it. The kernel may load a module to answer.
    pub fn find(name: &str) -> io::Result<Self> {
        let name = build::attribute(FAMILY_NAME, format!("{name}\0").as_bytes());
        let question = [&[GET_FAMILY, 1, 0, 0], &name[..]].concat();
        let found = request(NETLINK_GENERIC, CONTROL, REQUEST, &question, Self::read)?;
        found.into_iter().next().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The number of a group of listeners.
    pub fn group(&self, name: &str) -> Option<u32> {
        let found = self.groups.iter().find(|(found, _)| found.strip_suffix(&[0]) == Some(name.as_bytes()));
        found.map(|(_, number)| *number)
    }

    fn read(body: &[u8]) -> Option<Self> {
        let body = body.get(HEADER..)?;
        let groups = attributes(attribute(body, GROUPS).unwrap_or_default());
        let group = |(_, group)| Some((attribute(group, GROUP_NAME)?.to_vec(), attribute(group, GROUP_ID)?));
        let groups = groups.filter_map(group).filter_map(|(name, id)| Some((name, u32_at(id, 0)?)));
        Some(Self { number: u16_at(attribute(body, FAMILY_ID)?, 0)?, groups: groups.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_number_and_groups() {
        let group = |name: &[u8], number: u32| {
            let parts =
                [build::attribute(GROUP_NAME, name), build::attribute(GROUP_ID, &number.to_ne_bytes())];
            build::attribute(1, &parts.concat())
        };
        let groups = build::attribute(GROUPS, &[group(b"one\0", 7), group(b"two\0", 9)].concat());
        let number = build::attribute(FAMILY_ID, &31u16.to_ne_bytes());
        let body = [&[GET_FAMILY, 1, 0, 0][..], &number, &groups].concat();
        let family = GenericFamily::read(&body).unwrap();
        assert_eq!(family.number, 31);
        assert_eq!([family.group("one"), family.group("two"), family.group("on")], [Some(7), Some(9), None]);
        assert_eq!(GenericFamily::read(&body[..6]), None);
    }

    #[test]
    fn the_kernel_knows_the_family_of_families() {
        let family = GenericFamily::find("nlctrl").unwrap();
        assert_eq!(family.number, CONTROL);
        assert!(family.group("notify").is_some());
    }
}
