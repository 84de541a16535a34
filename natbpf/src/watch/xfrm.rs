//! IPsec: policies and associations (`NETLINK_XFRM`). A packet that one of them applies to is the kernel's,
//! since no path is noted for what leaves encrypted: that is another packet, of another protocol. So it is
//! enough that every flow asks again when they change.

use std::io;

use rtnetlink::sys::{Socket, protocols::NETLINK_XFRM};

use super::judge::{Reason, first};
use crate::netlink::socket;

/// `XFRMNLGRP_EXPIRE`, `_SA`, `_POLICY`, `_MIGRATE` (linux/xfrm.h).
const GROUPS: [u32; 4] = [2, 3, 4, 7];

/// `XFRM_MSG_EXPIRE`: of an association, without which nothing leaves that did not before. Those come by the thousand.
const EXPIRE: u16 = 0x18;

/// Fails where the kernel has no IPsec.
pub fn open() -> io::Result<Socket> {
    socket::open(NETLINK_XFRM, &GROUPS)
}

pub fn judge(datagram: &[u8]) -> Option<Reason> {
    first(datagram, Reason::Ipsec, |kind| kind != EXPIRE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::build;

    /// `XFRM_MSG_NEWPOLICY`, `XFRM_MSG_FLUSHSA`, `XFRM_MSG_POLEXPIRE`
    #[test]
    fn every_change_counts_but_the_end_of_an_association() {
        for kind in [0x13, 0x1c, 0x1b] {
            assert_eq!(judge(&build::message(kind, 0, &[0; 64])), Some(Reason::Ipsec));
        }
        let expired = build::message(EXPIRE, 0, &[0; 64]);
        assert_eq!(judge(&expired), None);
        assert_eq!(judge(&expired[..20]), Some(Reason::Lost));
        assert_eq!(judge(&[expired, build::message(0x14, 0, &[0; 64])].concat()), Some(Reason::Ipsec));
    }
}
