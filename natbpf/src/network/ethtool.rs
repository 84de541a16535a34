//! What devices say of themselves by ethtool(8)'s requests: an ioctl (SIOCETHTOOL), which every kernel has.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::netlink::message::u32_at;

/// `ETHTOOL_GDRVINFO`, `ETHTOOL_GFLAGS`, `ETHTOOL_GTXCSUM`, `ETHTOOL_GTSO`; `ETH_FLAG_RXVLAN` (linux/ethtool.h)
const DRIVER: u32 = 3;
const FLAGS: u32 = 0x25;
const CHECKSUMS: u32 = 0x16;
const SEGMENTS: u32 = 0x1e;
const STRIPS_TAGS: u32 = 1 << 8;

/// A socket to ask by, of the calling thread's network namespace.
#[derive(Debug)]
pub struct Ethtool(OwnedFd);

impl Ethtool {
    pub fn open() -> io::Result<Self> {
        Ok(Self(socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?))
    }

    /// Name of the driver, if it says it.
    pub fn driver(&self, name: &str) -> Option<String> {
        // `struct ethtool_drvinfo`
        let mut information = [0u8; 196];
        information[..4].copy_from_slice(&DRIVER.to_ne_bytes());
        self.ask(name, &mut information)?;
        let driver = information[4..36].split(|&byte| byte == 0).next()?;
        String::from_utf8(driver.to_vec()).ok().filter(|driver| !driver.is_empty())
    }

    /// Whether VLAN tags are not in the frames any more when they are received.
    pub fn strips_tags(&self, name: &str) -> bool {
        self.number(name, FLAGS).is_some_and(|flags| flags & STRIPS_TAGS != 0)
    }

    /// Whether a device takes packets whose checksums are to be completed and which are to be cut into
    /// segments. An operator who has switched that off wants the host behind it to see them complete. What
    /// cannot be asked does not.
    pub fn takes_unfinished(&self, name: &str) -> bool {
        self.checksums(name) == Some(true) && self.segments(name) == Some(true)
    }

    /// Whether it takes packets whose checksums are to be completed.
    pub fn checksums(&self, name: &str) -> Option<bool> {
        self.number(name, CHECKSUMS).map(|on| on != 0)
    }

    /// Whether it takes packets of TCP that are to be cut into segments.
    pub fn segments(&self, name: &str) -> Option<bool> {
        self.number(name, SEGMENTS).map(|on| on != 0)
    }

    fn number(&self, name: &str, command: u32) -> Option<u32> {
        // `struct ethtool_value`
        let mut value = [0u8; 8];
        value[..4].copy_from_slice(&command.to_ne_bytes());
        self.ask(name, &mut value)?;
        u32_at(&value, 4)
    }

    fn ask(&self, name: &str, request: &mut [u8]) -> Option<()> {
        // SAFETY: integers and a pointer, for which zeros do.
        let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays zero.
        if name.len() >= ifreq.ifr_name.len() {
            return None;
        }
        for (place, byte) in ifreq.ifr_name.iter_mut().zip(name.bytes()) {
            *place = byte as libc::c_char;
        }
        ifreq.ifr_ifru.ifru_data = request.as_mut_ptr().cast();
        // SAFETY: the request is as long as its command says, and valid while this runs.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SIOCETHTOOL, &raw mut ifreq) };
        (result == 0).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_finishes_nothing() {
        let ethtool = Ethtool::open().unwrap();
        assert!(ethtool.takes_unfinished("lo"));
        assert!(!ethtool.takes_unfinished("there-is-none"));
    }
}
