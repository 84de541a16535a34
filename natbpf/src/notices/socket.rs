//! The socket by which ICMP errors leave.

use std::{
    io,
    net::{SocketAddrV4, UdpSocket},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::answer::Answer;

/// A raw socket that sends whole IPv4 packets and receives none (`IPPROTO_RAW`, raw(7)). The kernel routes
/// them, and writes the source that the route prefers.
#[derive(Debug)]
pub struct RawSocket {
    // For its sendto(2), which does for every kind of IPv4 datagram.
    socket: UdpSocket,
}

impl RawSocket {
    /// Opens one in the network namespace of the calling thread. Needs `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Raw)?;
        Ok(Self { socket: socket.into() })
    }

    pub fn send(&self, answer: &Answer) -> io::Result<()> {
        self.socket.send_to(&answer.bytes, SocketAddrV4::new(answer.to, 0)).map(|_| ())
    }
}
