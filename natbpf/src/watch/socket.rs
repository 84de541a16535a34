//! The netlink sockets, and asking for all that there is.

use std::{collections::VecDeque, io};

use rtnetlink::sys::{
    Socket, SocketAddr,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE},
};
use tokio::{
    io::{
        Interest,
        unix::{AsyncFd, AsyncFdReadyGuard},
    },
    time::{Instant, sleep_until},
};

use super::{
    conntrack,
    judge::{Judge, Reason},
    message::build,
    xfrm,
};

/// Groups of `NETLINK_ROUTE` (`RTNLGRP_LINK`, `_NEIGH`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV4_RULE`, `_IPV4_NETCONF`, `_NEXTHOP`,
/// `_BRVLAN` of linux/rtnetlink.h).
const GROUPS: [u32; 8] = [1, 3, 5, 7, 8, 24, 32, 33];

/// `NFNLGRP_NFTABLES` (linux/netfilter/nfnetlink.h)
const NFTABLES: u32 = 7;

/// `NLM_F_REQUEST | NLM_F_DUMP`
const DUMP: u16 = 0x301;

/// The kernel sends no datagram that is longer.
const DATAGRAM: usize = 1 << 16;

/// What neighbours, stations and interfaces are asked for by: type, family, length of the header.
const QUESTIONS: [(u16, libc::c_int, usize); 3] = [
    (libc::RTM_GETLINK, libc::AF_UNSPEC, 16),
    (libc::RTM_GETNEIGH, libc::AF_INET, 12),
    (libc::RTM_GETNEIGH, libc::AF_BRIDGE, 12),
];

/// Tells that something has changed.
#[derive(Debug)]
pub struct Sockets {
    route: Socket,
    /// There is none as long as the kernel has no nfnetlink.
    netfilter: Option<Socket>,
    /// Nor here, if it has no IPsec.
    xfrm: Option<Socket>,
}

impl Sockets {
    /// In the network namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        let mut route = Socket::new(NETLINK_ROUTE)?;
        route.set_non_blocking(true)?;
        route.bind(&SocketAddr::new(0, 0))?;
        for group in GROUPS {
            // Groups that an older kernel does not have are about what it does not have either.
            match route.add_membership(group) {
                Err(error) if error.raw_os_error() != Some(libc::EINVAL) => return Err(error),
                _ => {}
            }
        }
        Ok(Self { route, netfilter: open_netfilter().ok(), xfrm: xfrm::open().ok() })
    }
}

fn open_netfilter() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.set_non_blocking(true)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.add_membership(NFTABLES)?;
    Ok(socket)
}

/// Listens.
#[derive(Debug)]
pub struct Listener {
    route: AsyncFd<Socket>,
    netfilter: Option<AsyncFd<Socket>>,
    xfrm: Option<AsyncFd<Socket>>,
    /// Only while offload is on.
    conntrack: Option<AsyncFd<Socket>>,
    judge: Judge,
    /// What is still to be asked for; the first of it has been.
    questions: VecDeque<(u16, libc::c_int, usize)>,
    buffer: Vec<u8>,
}

fn register(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: the socket owns its descriptor, and nothing here closes or replaces it.
    unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.map_err(io::Error::from)
}

impl Listener {
    /// Needs a Tokio runtime.
    pub fn new(sockets: Sockets) -> io::Result<Self> {
        let mut listener = Self {
            route: register(sockets.route)?,
            netfilter: sockets.netfilter.map(register).transpose()?,
            xfrm: sockets.xfrm.map(register).transpose()?,
            conntrack: None,
            judge: Judge::default(),
            questions: VecDeque::new(),
            buffer: Vec::with_capacity(DATAGRAM),
        };
        listener.ask_for_all()?;
        Ok(listener)
    }

    /// nfnetlink may have come with the first rule.
    pub fn look_for_netfilter(&mut self) -> Option<Reason> {
        if self.netfilter.is_none() {
            self.netfilter = open_netfilter().and_then(register).ok();
            return self.netfilter.as_ref().map(|_| Reason::Ruleset);
        }
        None
    }

    /// Whether to hear of connections that somebody deletes. Where there is no conntrack yet, it is to be asked for again.
    pub fn follow_conntrack(&mut self, follow: bool) {
        if !follow {
            self.conntrack = None;
        } else if self.conntrack.is_none() {
            self.conntrack = conntrack::open().and_then(register).ok();
        }
    }

    /// Waits until something has changed since the last call; many changes at once count as one. Cancel safe.
    pub async fn changed(&mut self) -> io::Result<Reason> {
        loop {
            let due = self.judge.due();
            let late = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let reason = tokio::select! {
                () = late => self.judge.settle(Instant::now()),
                ready = self.route.readable() => {
                    let mut ready = ready?;
                    ready.clear_ready();
                    self.read_route()?
                }
                ready = readable(self.netfilter.as_ref()) => {
                    ready?.clear_ready();
                    read(self.netfilter.as_ref(), &mut self.buffer, Judge::netfilter)?
                }
                ready = readable(self.xfrm.as_ref()) => {
                    ready?.clear_ready();
                    read(self.xfrm.as_ref(), &mut self.buffer, xfrm::judge)?
                }
                ready = readable(self.conntrack.as_ref()) => {
                    ready?.clear_ready();
                    // What is lost there was a deletion.
                    let reason = read(self.conntrack.as_ref(), &mut self.buffer, conntrack::judge)?;
                    reason.map(|_| Reason::Connection)
                }
            };
            if let Some(reason) = reason {
                return Ok(reason);
            }
        }
    }

    fn read_route(&mut self) -> io::Result<Option<Reason>> {
        let mut found = None;
        loop {
            let reason = match receive(self.route.get_ref(), &mut self.buffer)? {
                Received::Nothing => return Ok(found),
                Received::Lost => {
                    self.ask_for_all()?;
                    Some(Reason::Lost)
                }
                Received::Datagram => {
                    let judgement = self.judge.route(&self.buffer, Instant::now());
                    match judgement.answered {
                        // What changed while it was asked for is known only now.
                        true if self.ask_next()? => judgement.reason.or(Some(Reason::Asked)),
                        _ => judgement.reason,
                    }
                }
            };
            found = found.or(reason);
        }
    }

    /// Begins anew, since something is not known.
    fn ask_for_all(&mut self) -> io::Result<()> {
        self.judge.forget();
        // The answers to one that was asked already are still to come.
        let asked = self.questions.front().copied();
        self.questions = asked.into_iter().chain(QUESTIONS).collect();
        if asked.is_none() { self.ask() } else { Ok(()) }
    }

    /// Asks for what comes next. True: nothing does, everything is known.
    fn ask_next(&mut self) -> io::Result<bool> {
        if self.questions.pop_front().is_none() {
            return Ok(false);
        }
        self.ask()?;
        Ok(self.questions.is_empty())
    }

    fn ask(&self) -> io::Result<()> {
        let Some(&(kind, family, length)) = self.questions.front() else { return Ok(()) };
        let mut header = vec![0; length];
        header[0] = family as u8;
        self.route.get_ref().send_to(&build::message(kind, DUMP, &header), &SocketAddr::new(0, 0), 0)?;
        Ok(())
    }
}

async fn readable(socket: Option<&AsyncFd<Socket>>) -> io::Result<AsyncFdReadyGuard<'_, Socket>> {
    match socket {
        Some(socket) => socket.readable().await,
        None => std::future::pending().await,
    }
}

/// Empties a socket.
fn read(
    socket: Option<&AsyncFd<Socket>>,
    buffer: &mut Vec<u8>,
    judge: impl Fn(&[u8]) -> Option<Reason>,
) -> io::Result<Option<Reason>> {
    let Some(socket) = socket else { return Ok(None) };
    let mut found = None;
    loop {
        let reason = match receive(socket.get_ref(), buffer)? {
            Received::Nothing => return Ok(found),
            Received::Lost => Some(Reason::Lost),
            Received::Datagram => judge(buffer),
        };
        found = found.or(reason);
    }
}

enum Received {
    /// It is in the buffer.
    Datagram,
    /// The queue was full: messages are lost, the socket goes on (netlink(7)).
    Lost,
    Nothing,
}

fn receive(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<Received> {
    loop {
        buffer.clear();
        match socket.recv(buffer, 0) {
            Ok(_) => return Ok(Received::Datagram),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(Received::Lost),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn everything_is_asked_for_at_the_start_and_then_nothing_happens() {
        let mut listener = Listener::new(Sockets::open().unwrap()).unwrap();
        let first = timeout(Duration::from_secs(5), listener.changed()).await.expect("answers").unwrap();
        assert!(listener.questions.is_empty() || first != Reason::Asked);
        while !listener.questions.is_empty() {
            timeout(Duration::from_secs(5), listener.changed()).await.expect("answers").unwrap();
        }
    }
}
