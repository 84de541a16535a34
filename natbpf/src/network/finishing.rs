//! What a device does itself to packets that leave by it: asked by ioctl (SIOCETHTOOL), which every kernel has.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// `SIOCETHTOOL` (linux/sockios.h).
const SIOCETHTOOL: libc::Ioctl = 0x8946;
/// `ETHTOOL_GTXCSUM` and `ETHTOOL_GTSO` (linux/ethtool.h).
const CHECKSUMS: u32 = 0x16;
const SEGMENTS: u32 = 0x1e;

/// `struct ethtool_value`
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// A socket to ask by, of the calling thread's network namespace.
#[derive(Debug)]
pub struct Finishing {
    socket: OwnedFd,
}

impl Finishing {
    pub fn open() -> io::Result<Self> {
        // SAFETY: no pointers; the descriptor is new and ours.
        let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above.
        Ok(Self { socket: unsafe { OwnedFd::from_raw_fd(socket) } })
    }

    /// Whether a device takes packets whose checksums are to be completed and which are to be cut into segments. An operator who has
    /// switched that off wants whoever is behind it to see them complete. What cannot be asked does not.
    pub fn takes_unfinished(&self, name: &str) -> bool {
        [CHECKSUMS, SEGMENTS].into_iter().all(|command| self.is_on(name, command).unwrap_or(false))
    }

    fn is_on(&self, name: &str, command: u32) -> io::Result<bool> {
        let mut value = Value { command, data: 0 };
        // SAFETY: integers and a pointer, for which zeros do.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays zero.
        for (place, byte) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
            *place = byte as libc::c_char;
        }
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: the request and the value that it points to are valid, and of the layout that the kernel has.
        let done = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(value.data != 0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_finishes_nothing() {
        let finishing = Finishing::open().unwrap();
        assert!(finishing.takes_unfinished("lo"));
        assert!(!finishing.takes_unfinished("there-is-none"));
    }
}
