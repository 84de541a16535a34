//! Netlink sockets: how they are opened and read.

use std::{
    io,
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use rtnetlink::sys::{Socket, SocketAddr};
use tokio::io::{Interest, unix::AsyncFd};

/// Bytes that wait to be read, as far as it may be set; the kernel takes memory only for what does wait. Its
/// default is full after some hundred messages.
const ROOM: i32 = 8 << 20;

/// So many datagrams are read at a time, so that a sender who is as fast as reading holds up nothing else.
const BATCH: usize = 1000;

/// And for so long: each piece of an answer takes the kernel the longer, the larger the table of a bridge is.
const TURN: Duration = Duration::from_millis(10);

/// In the network namespace of the calling thread. Groups that an older kernel does not have are about what it
/// does not have either.
pub fn open(protocol: isize, groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.set_non_blocking(true)?;
    // More than `net.core.rmem_max` is for those with CAP_NET_ADMIN on the host, and not only in a container.
    set(&socket, libc::SO_RCVBUFFORCE, &ROOM).or_else(|_| set(&socket, libc::SO_RCVBUF, &ROOM))?;
    socket.bind(&SocketAddr::new(0, 0))?;
    for group in groups {
        match socket.add_membership(*group) {
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => return Err(error),
            _ => {}
        }
    }
    Ok(socket)
}

/// The same for messages of all namespaces that the calling thread's has a number for (nsid, ip-netns(8)). Nobody says
/// whose a message is. The queue is short: who reads it wants to know only that there was something.
pub fn open_for_all_namespaces(protocol: isize, groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.set_non_blocking(true)?;
    socket.set_listen_all_namespaces(true)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    groups.iter().try_for_each(|group| socket.add_membership(*group))?;
    Ok(socket)
}

/// Sets an option of `SOL_SOCKET`.
pub fn set<T>(socket: &Socket, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the value is as long as said, and what it points to outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Needs a Tokio runtime.
pub fn register(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: the socket owns its descriptor, and nothing here closes or replaces it.
    unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.map_err(io::Error::from)
}

/// Waits until there is something to read, as there is still after a full batch.
pub async fn readable(socket: Option<&AsyncFd<Socket>>) -> io::Result<()> {
    match socket {
        // It is ready until reading says that it is empty.
        Some(socket) => socket.readable().await.map(drop),
        None => std::future::pending().await,
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Received {
    /// It is in the buffer.
    Datagram,
    /// The queue was full: messages are lost, also those that come before it is empty; then the socket goes
    /// on (netlink(7)).
    Lost,
    /// The queue is empty.
    Nothing,
}

/// A batch of what there is, to the end if that comes before.
pub fn batch(
    socket: &AsyncFd<Socket>,
    buffer: &mut Vec<u8>,
    mut take: impl FnMut(Received, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let start = Instant::now();
    for _ in 0..BATCH {
        match receive(socket, buffer)? {
            Received::Nothing => return take(Received::Nothing, &[]),
            received => take(received, buffer)?,
        }
        if start.elapsed() > TURN {
            break;
        }
    }
    Ok(())
}

fn receive(socket: &AsyncFd<Socket>, buffer: &mut Vec<u8>) -> io::Result<Received> {
    loop {
        buffer.clear();
        match socket.try_io(Interest::READABLE, |socket| socket.recv(buffer, 0)) {
            Ok(_) => return Ok(Received::Datagram),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(Received::Lost),
            Err(error) => return Err(error),
        }
    }
}
