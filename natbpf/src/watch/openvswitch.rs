//! Flows of Open vSwitch in the kernel: what the switch does to packets. A new one is about packets that came to none
//! before, so nothing of them is repeated; one that is changed or deleted may be about packets that are.
//!
//! The switch deletes flows that had no packet for ten seconds, among them those whose packets are repeated. So there
//! may be many all the time, and they count together, once a second.

use std::{io, path::Path};

use rtnetlink::sys::{Socket, protocols::NETLINK_GENERIC};

use super::judge::Reason;
use crate::netlink::{GenericFamily, message::messages, socket};

/// The kernel's part of it. To ask for its family would load it.
const MODULE: &str = "/sys/module/openvswitch";

/// `OVS_FLOW_FAMILY`, `OVS_FLOW_MCGROUP` (linux/openvswitch.h).
const FLOWS: &str = "ovs_flow";

/// `OVS_FLOW_CMD_DEL` and `OVS_FLOW_CMD_SET`.
const DELETE: u8 = 2;
const SET: u8 = 4;

pub fn is_there() -> bool {
    Path::new(MODULE).exists()
}

/// Fails where there is no such switch.
pub fn open() -> io::Result<Socket> {
    if !is_there() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let group = GenericFamily::find(FLOWS)?.group(FLOWS).ok_or(io::ErrorKind::NotFound)?;
    socket::open(NETLINK_GENERIC, &[group])
}

pub fn judge(datagram: &[u8]) -> Option<Reason> {
    messages(datagram).find_map(|message| match message {
        // A command of generic netlink comes first.
        Some(message) => message
            .body
            .first()
            .is_some_and(|command| [DELETE, SET].contains(command))
            .then_some(Reason::Switch),
        None => Some(Reason::Lost),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::build;

    #[test]
    fn what_is_changed_or_deleted_counts_and_what_is_new_does_not() {
        let message = |command: u8| build::message(31, 0, &[command, 1, 0, 0, 5, 0, 0, 0]);
        assert_eq!(judge(&message(1)), None);
        assert_eq!(judge(&message(DELETE)), Some(Reason::Switch));
        assert_eq!(judge(&[message(1), message(SET)].concat()), Some(Reason::Switch));
        assert_eq!(judge(&message(SET)[..20]), Some(Reason::Lost));
    }
}
