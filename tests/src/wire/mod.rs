//! A device below the network stack: every IPv4 packet that passes it, and any frame put onto it.

pub mod capture;
pub mod flood;
pub mod seen;
mod tag;

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::net::if_::if_nametoindex;

use crate::netns::Namespace;
use crate::netns::link::{Link, link_address};
use crate::object::Packet;
use seen::Seen;

/// Room for what nobody has read yet.
const RECEIVE_BUFFER: libc::c_int = 64 << 20;
/// In the place of an index: every device.
const ANYWHERE: u32 = 0;
/// How long a packet may be on its way.
const TRAVEL: Duration = Duration::from_millis(200);

/// An AF_PACKET socket on one device. It keeps all that has passed since it was opened until it is asked for;
/// what it sends itself it does not see.
#[derive(Debug)]
pub struct Wire {
    pub(crate) socket: OwnedFd,
    pub(crate) name: String,
    own: Link,
    peer: Link,
    /// Where it looks, if not there.
    far: Option<OwnedFd>,
}

impl Wire {
    /// Frames that are sent go from `own` to `peer`.
    pub fn open(ns: &Namespace, device: &str, own: Link, peer: Link) -> Result<Self> {
        let name = format!("{device} in {}", ns.name());
        let socket = ns.enter(|| open(index(device)?))?;
        let socket = socket.with_context(|| format!("cannot listen at {name}"))?;
        Ok(Self { socket, name, own, peer, far: None })
    }

    /// As [`Wire::open`] from the device's own address to that of another device.
    pub fn between(ns: &Namespace, device: &str, peer: (&Namespace, &str)) -> Result<Self> {
        Self::open(ns, device, link_address(ns, device)?, link_address(peer.0, peer.1)?)
    }

    /// Looks at the other end of the veth pair from now on, where it also sees what BPF sends straight to that end
    /// (`bpf_redirect_peer`), and what it sends itself.
    pub fn seen_from(self, ns: &Namespace, device: &str) -> Result<Self> {
        let name = format!("{}, seen from {device} in {}", self.name, ns.name());
        let far = ns.enter(|| open(index(device)?))?.with_context(|| format!("cannot listen at {name}"))?;
        Ok(Self { name, far: Some(far), ..self })
    }

    /// Shows frames with their VLAN tag where it was on the wire. The kernel keeps it beside the frame.
    pub fn with_tags(self) -> Result<Self> {
        option(self.listener(), libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        Ok(self)
    }

    /// A device of the calling thread's namespace, to listen only.
    pub fn here(device: &str) -> Result<Self> {
        let socket = index(device).and_then(open).with_context(|| format!("cannot listen at {device}"))?;
        Ok(Self { socket, name: device.to_owned(), own: [0; 6], peer: [0; 6], far: None })
    }

    /// All devices of a namespace, to listen only, for [`Wire::next_anywhere`].
    pub fn everywhere(ns: &Namespace) -> Result<Self> {
        let name = format!("the devices in {}", ns.name());
        let socket = ns.enter(|| open(ANYWHERE))?.with_context(|| format!("cannot listen at {name}"))?;
        Ok(Self { socket, name, own: [0; 6], peer: [0; 6], far: None })
    }

    /// The next IPv4 packet at any device, with the device's index; `None` when none passes for `limit`.
    pub fn next_anywhere(&self, limit: Duration) -> Result<Option<(u32, Seen)>> {
        let end = Instant::now() + limit;
        loop {
            let Some(frame) = self.frame(end)? else { return Ok(None) };
            if let Some(seen) = Seen::of_frame(&frame.bytes, frame.outgoing) {
                return Ok(Some((frame.interface, seen)));
            }
        }
    }

    /// The next frame as it is, and whether it is an outgoing one; `None` when none passes for `limit`.
    pub fn next_frame(&self, limit: Duration) -> Result<Option<(Vec<u8>, bool)>> {
        Ok(self.frame(Instant::now() + limit)?.map(|frame| (frame.bytes, frame.outgoing)))
    }

    /// Sends a packet to the peer.
    pub fn send(&self, packet: &Packet) -> Result<()> {
        self.send_frame(&self.frame_of(packet))
    }

    /// The frame with a packet to the peer.
    pub fn frame_of(&self, packet: &Packet) -> Vec<u8> {
        let mut frame = packet.bytes();
        frame[..6].copy_from_slice(&self.peer);
        frame[6..12].copy_from_slice(&self.own);
        frame
    }

    /// Sends these bytes as an IPv4 packet to the peer, whatever they are.
    pub fn send_ip(&self, packet: &[u8]) -> Result<()> {
        self.send_frame(&[&self.peer[..], &self.own[..], &[8, 0], packet].concat())
    }

    /// Sends these bytes, Ethernet header included.
    pub fn send_frame(&self, frame: &[u8]) -> Result<()> {
        // SAFETY: the pointer is given with the size of what it points to.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error()).with_context(|| format!("cannot send at {}", self.name));
        }
        Ok(())
    }

    /// The next IPv4 packet, in either direction; `None` when none passes for `limit`.
    pub fn next(&self, limit: Duration) -> Result<Option<Seen>> {
        let end = Instant::now() + limit;
        loop {
            let Some(frame) = self.frame(end)? else { return Ok(None) };
            if let Some(seen) = Seen::of_frame(&frame.bytes, frame.outgoing) {
                return Ok(Some(seen));
            }
        }
    }

    /// The next packet that is `wanted`, for up to two seconds; others are passed over.
    ///
    /// # Errors
    /// When it does not come; the text has what came instead. For "it may come or not" there is [`Wire::find`].
    pub fn expect(&self, wanted: impl Fn(&Seen) -> bool) -> Result<Seen> {
        let mut others = Vec::new();
        let found = self.look(Duration::from_secs(2), &wanted, &mut others)?;
        found.with_context(|| format!("not seen at {}; other packets there: {others:?}", self.name))
    }

    /// The next packet that is `wanted`, if it comes within `limit`.
    pub fn find_within(&self, limit: Duration, wanted: impl Fn(&Seen) -> bool) -> Result<Option<Seen>> {
        self.look(limit, &wanted, &mut Vec::new())
    }

    /// The next packet that is `wanted`, if one has passed or is on its way: waits 200 ms.
    pub fn find(&self, wanted: impl Fn(&Seen) -> bool) -> Result<Option<Seen>> {
        self.find_within(TRAVEL, wanted)
    }

    fn look(
        &self,
        limit: Duration,
        wanted: &impl Fn(&Seen) -> bool,
        others: &mut Vec<Seen>,
    ) -> Result<Option<Seen>> {
        let end = Instant::now() + limit;
        while let Some(seen) = self.next(end.saturating_duration_since(Instant::now()))? {
            if wanted(&seen) {
                return Ok(Some(seen));
            }
            if others.len() < 20 {
                others.push(seen);
            }
        }
        Ok(None)
    }

    /// Every packet that has passed and was not asked for yet, and those still on their way.
    ///
    /// # Errors
    /// When the kernel had no room for some: nothing is proved then.
    pub fn drain(&self) -> Result<Vec<Seen>> {
        self.drain_for(TRAVEL)
    }

    /// As [`Wire::drain`], until none has come for `quiet`.
    pub fn drain_for(&self, quiet: Duration) -> Result<Vec<Seen>> {
        let mut all = Vec::new();
        while let Some(seen) = self.next(quiet)? {
            all.push(seen);
        }
        let lost = lost(self.listener())?;
        ensure!(lost == 0, "the kernel had no room for {lost} packets at {}", self.name);
        Ok(all)
    }

    fn listener(&self) -> &OwnedFd {
        self.far.as_ref().unwrap_or(&self.socket)
    }

    /// The next frame.
    fn frame(&self, end: Instant) -> Result<Option<Frame>> {
        let mut buffer = vec![0; 1 << 17];
        loop {
            // SAFETY: all zeroes is a valid sockaddr_ll.
            let mut from: libc::sockaddr_ll = unsafe { mem::zeroed() };
            let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let mut control = tag::Room::default();
            // SAFETY: all zeroes is a valid msghdr.
            let mut message: libc::msghdr = unsafe { mem::zeroed() };
            (message.msg_name, message.msg_namelen) =
                ((&raw mut from).cast(), size_of_val(&from) as libc::socklen_t);
            (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
            (message.msg_control, message.msg_controllen) =
                ((&raw mut control).cast(), size_of_val(&control));
            // SAFETY: all pointers are given with the size of what they point to.
            let length =
                unsafe { libc::recvmsg(self.listener().as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
            if let Ok(length) = usize::try_from(length) {
                buffer.truncate(length);
                tag::put_back(&message, &mut buffer);
                let outgoing = from.sll_pkttype == libc::PACKET_OUTGOING;
                let interface = from.sll_ifindex.cast_unsigned();
                return Ok(Some(Frame {
                    bytes: buffer,
                    outgoing: outgoing != self.far.is_some(),
                    interface,
                }));
            }
            match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => {}
                // The device went down, which a test may want.
                error if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                error => bail!("cannot listen at {}: {error}", self.name),
            }
            crate::process::interrupt::check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let tick = left.min(Duration::from_millis(50)).as_millis().max(1);
            let mut poll = libc::pollfd { fd: self.listener().as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one pollfd, as said.
            unsafe { libc::poll(&raw mut poll, 1, tick as libc::c_int) };
        }
    }
}

/// A frame where it passed.
struct Frame {
    bytes: Vec<u8>,
    outgoing: bool,
    /// Index of the device.
    interface: u32,
}

fn index(device: &str) -> Result<u32> {
    if_nametoindex(device).with_context(|| format!("no device {device}"))
}

/// At a device of the calling thread's namespace, by its index.
fn open(index: u32) -> Result<OwnedFd> {
    // Protocol 0 first: nothing is received before the socket belongs to the device.
    // SAFETY: socket(2) takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: a descriptor that was just made and that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)?;
    // SAFETY: all zeroes is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = (libc::ETH_P_ALL as libc::c_ushort).to_be();
    address.sll_ifindex = index.cast_signed();
    let size = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address is given with its size.
    if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) } < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(socket)
}

fn option(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> Result<()> {
    let size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the option's value is an int, whose address and size are given.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size) };
    if done < 0 { Err(io::Error::last_os_error().into()) } else { Ok(()) }
}

/// Packets that found no room since the last call.
fn lost(socket: &OwnedFd) -> Result<u32> {
    // SAFETY: all zeroes is a valid tpacket_stats.
    let mut stats: libc::tpacket_stats = unsafe { mem::zeroed() };
    let mut size = size_of_val(&stats) as libc::socklen_t;
    // SAFETY: the statistics are given with their size.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut size,
        )
    };
    if done < 0 { Err(io::Error::last_os_error().into()) } else { Ok(stats.tp_drops) }
}
