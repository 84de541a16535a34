//! Raw IPv4: protocols without a program, and packets that no program would send.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::Namespace;

/// A raw socket.
#[derive(Debug)]
pub struct RawSocket {
    // A UdpSocket for its recv and its timeouts, which work on any datagram socket.
    socket: UdpSocket,
}

/// An IPv4 packet without options that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub source: Ipv4Addr,
    pub payload: Vec<u8>,
}

impl RawSocket {
    /// Receives protocol number `protocol` and sends it, the kernel writing the IPv4 header.
    pub fn protocol(ns: &Namespace, protocol: u8) -> Result<Self> {
        Self::open(ns, protocol.into())
    }

    /// Sends whole packets, IPv4 header included; the kernel fills in a zero identification and the header
    /// checksum.
    pub fn whole_packets(ns: &Namespace) -> Result<Self> {
        Self::open(ns, libc::IPPROTO_RAW)
    }

    fn open(ns: &Namespace, protocol: libc::c_int) -> Result<Self> {
        let socket = ns.enter(|| {
            // SAFETY: socket(2) takes no pointers.
            let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
            // SAFETY: a descriptor that was just made and that nobody else has.
            if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(unsafe { OwnedFd::from_raw_fd(fd) }) }
        })?;
        let socket =
            UdpSocket::from(socket.with_context(|| format!("cannot open a raw socket in {}", ns.name()))?);
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        Ok(Self { socket })
    }

    pub fn set_timeout(&self, timeout: Duration) -> Result<()> {
        Ok(self.socket.set_read_timeout(Some(timeout))?)
    }

    /// Sends `packet` towards `destination`.
    pub fn send(&self, packet: &[u8], destination: Ipv4Addr) -> Result<()> {
        let to = SocketAddrV4::new(destination, 0);
        // SAFETY: all zeroes is a valid sockaddr_in.
        let mut address: libc::sockaddr_in = unsafe { mem::zeroed() };
        address.sin_family = libc::AF_INET as libc::sa_family_t;
        address.sin_addr.s_addr = u32::from(*to.ip()).to_be();
        let size = size_of_val(&address) as libc::socklen_t;
        // SAFETY: both pointers are given with the size of what they point to.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                size,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error()).with_context(|| format!("cannot send to {destination}"));
        }
        Ok(())
    }

    /// The next packet of the socket's protocol, None when none comes before the timeout.
    pub fn receive(&self) -> Result<Option<Packet>> {
        let mut buffer = [0; 65536];
        match self.socket.recv(&mut buffer) {
            Ok(length) => {
                let header = usize::from(buffer[0] & 0xf) * 4;
                let source = Ipv4Addr::new(buffer[12], buffer[13], buffer[14], buffer[15]);
                Ok(Some(Packet { source, payload: buffer[header..length].to_vec() }))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// An IPv4 packet for [`RawSocket::whole_packets`]: `fragment` is the field of flags and offset as it is on
/// the wire.
pub fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0x12, 0x34]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}
