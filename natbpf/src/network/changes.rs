//! Hearing that something has changed, from the kernel.

use std::{collections::BTreeSet, io, time::Duration};

use natbpf_common::IfIndex;
use rtnetlink::sys::{Socket, protocols::NETLINK_ROUTE};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep_until},
};

use super::NetworkError;
use crate::netlink::{
    message::{u16_at, u32_at},
    socket,
};

/// Between two readings: what comes faster counts as one change, and others get their turn in between.
const GATHER: Duration = Duration::from_millis(2);

/// Between two attempts to open a socket in the place of one that fails.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of a `struct nlmsghdr` and a `struct ifinfomsg` (rtnetlink(7)).
const LINK_MESSAGE: usize = 32;

/// So many messages are read at a time. If they come as fast as they are read, others are not kept waiting.
const BATCH: usize = 10_000;

/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_TC` and `RTNLGRP_IPV4_ROUTE` (linux/rtnetlink.h)
const LINKS: u32 = 1;
const ADDRESSES: u32 = 5;
const TRAFFIC_CONTROL: u32 = 4;
const ROUTES: u32 = 7;

/// Chains of filters; not in libc (linux/rtnetlink.h).
const RTM_NEWCHAIN: u16 = 100;
const RTM_DELCHAIN: u16 = 101;

/// What has changed; everything but this the next snapshot shows better.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Indexes of interfaces that were taken away. Others may have them by now.
    pub removed: BTreeSet<IfIndex>,
    /// Interfaces, addresses or queueing disciplines.
    pub interfaces: bool,
    pub routes: bool,
    /// Indexes of interfaces at which filters of traffic control have come or gone, or [`ANYWHERE`].
    pub filters: BTreeSet<IfIndex>,
}

/// Among indexes of interfaces: filters of a block that interfaces share (`TCM_IFINDEX_MAGIC_BLOCK` of
/// linux/rtnetlink.h), any of which may be meant.
pub const ANYWHERE: IfIndex = IfIndex::new(u32::MAX);

impl Change {
    /// Nobody knows what.
    pub fn anything() -> Self {
        Self { interfaces: true, routes: true, ..Self::default() }
    }

    /// Messages are lost: anything may have changed, anywhere.
    fn lost() -> Self {
        Self { filters: BTreeSet::from([ANYWHERE]), ..Self::anything() }
    }

    /// Both.
    fn join(&mut self, other: Self) {
        self.removed.extend(other.removed);
        self.filters.extend(other.filters);
        self.interfaces |= other.interfaces;
        self.routes |= other.routes;
    }

    /// Adds what a message tells.
    fn add(&mut self, message: &[u8]) {
        match kind(message) {
            Some(libc::RTM_NEWROUTE | libc::RTM_DELROUTE) => self.routes = true,
            Some(libc::RTM_NEWTFILTER | libc::RTM_DELTFILTER) => self.filters.extend(interface(message)),
            Some(libc::RTM_NEWQDISC | libc::RTM_DELQDISC) => {
                self.interfaces = true;
                // It may have come with filters, of a block that was there before, or gone with them.
                self.filters.extend(interface(message));
            }
            Some(libc::RTM_NEWTCLASS | libc::RTM_DELTCLASS | RTM_NEWCHAIN | RTM_DELCHAIN) => {}
            _ => {
                self.interfaces = true;
                self.removed.extend(removed(message));
            }
        }
    }
}

/// Tells that links, addresses, and if asked for routes have changed.
#[derive(Debug)]
pub struct Changes {
    socket: AsyncFd<Socket>,
    routes: bool,
    /// Not read before.
    due: Instant,
    /// What the operator was told of it.
    complaint: Option<String>,
}

impl Changes {
    /// In the network namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: listen(false)?, routes: false, due: Instant::now(), complaint: None })
    }

    /// Whether to tell of routes, too.
    pub fn follow_routes(&mut self, follow: bool) {
        if follow == self.routes {
            return;
        }
        let socket = self.socket.get_ref();
        let changed = match follow {
            true => socket.add_membership(ROUTES),
            false => socket.drop_membership(ROUTES),
        };
        match changed {
            Ok(()) => self.routes = follow,
            Err(error) => self.complain(&error),
        }
    }

    /// Waits until something has changed since the last call; many changes at once count as one. Losing
    /// messages counts as a change, and a socket that fails again and again is opened anew. Cancel safe.
    pub async fn next(&mut self) -> Change {
        loop {
            sleep_until(self.due).await;
            let read = socket::readable(Some(&self.socket)).await.and_then(|()| read(&self.socket));
            self.due = Instant::now() + GATHER;
            match read {
                Ok(Some(change)) => return change,
                Ok(None) => {}
                Err(error) => {
                    self.complain(&error);
                    match listen(self.routes) {
                        Ok(socket) => (self.socket, self.complaint) = (socket, None),
                        Err(error) => self.complain(&error),
                    }
                    self.due = Instant::now() + PATIENCE;
                    return Change::lost();
                }
            }
        }
    }

    /// Once for the same.
    fn complain(&mut self, error: &io::Error) {
        let complaint = error.to_string();
        if self.complaint.as_ref() != Some(&complaint) {
            tracing::error!(
                "{}; until it succeeds, changes are seen late",
                NetworkError::Watch(io::Error::other(complaint.clone()))
            );
            self.complaint = Some(complaint);
        }
    }
}

fn listen(routes: bool) -> io::Result<AsyncFd<Socket>> {
    let mut groups = vec![LINKS, ADDRESSES, TRAFFIC_CONTROL];
    groups.extend(routes.then_some(ROUTES));
    socket::register(socket::open(NETLINK_ROUTE, &groups)?)
}

/// Empties the socket, as long as that is no endless task. `None`: there was nothing in it.
fn read(socket: &AsyncFd<Socket>) -> io::Result<Option<Change>> {
    // A message that is longer is cut off and still taken whole from the queue.
    gather(|message| socket.try_io(Interest::READABLE, |socket| socket.recv(message, 0)).map(|_| ()))
}

/// All that is received until there is nothing more, or a batch of it. An error of the socket is told once, and
/// says that messages are lost; when its queue was full it is `ENOBUFS` (netlink(7)), and there are others. A
/// second one in a row is the socket's end.
fn gather(mut receive: impl FnMut(&mut Vec<u8>) -> io::Result<()>) -> io::Result<Option<Change>> {
    let mut change: Option<Change> = None;
    let mut failed = false;
    for _ in 0..BATCH {
        let mut start = Vec::with_capacity(LINK_MESSAGE);
        match receive(&mut start) {
            Ok(()) => {
                change.get_or_insert_default().add(&start);
                failed = false;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(change),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if failed && error.raw_os_error() != Some(libc::ENOBUFS) => return Err(error),
            Err(_) => {
                change.get_or_insert_default().join(Change::lost());
                failed = true;
            }
        }
    }
    Ok(change)
}

fn kind(message: &[u8]) -> Option<u16> {
    u16_at(message, 4)
}

/// That of a `struct ifinfomsg` and of a `struct tcmsg`.
fn interface(message: &[u8]) -> Option<IfIndex> {
    u32_at(message, 20).map(IfIndex::new)
}

/// The interface that a message says is gone.
fn removed(message: &[u8]) -> Option<IfIndex> {
    let gone = kind(message)? == libc::RTM_DELLINK;
    // A bridge says so, too, of a port that only leaves it: in a family of its own.
    let whole = libc::c_int::from(*message.get(16)?) == libc::AF_UNSPEC;
    interface(message).filter(|_| gone && whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_has_changed_at_first() {
        assert_eq!(read(&Changes::open().unwrap().socket).unwrap(), None);
    }

    #[test]
    fn an_error_of_the_socket_is_a_change_and_only_two_in_a_row_its_end() {
        let gathered = |errors: &[i32]| {
            let mut errors = errors.iter();
            gather(|_| match errors.next() {
                Some(0) => Ok(()),
                Some(code) => Err(io::Error::from_raw_os_error(*code)),
                None => Err(io::ErrorKind::WouldBlock.into()),
            })
        };
        assert_eq!(gathered(&[]).unwrap(), None);
        for errors in [&[libc::ENOBUFS][..], &[libc::EMSGSIZE], &[libc::EMSGSIZE, 0, libc::EMSGSIZE]] {
            assert_eq!(gathered(errors).unwrap(), Some(Change::lost()), "{errors:?}");
        }
        assert_eq!(gathered(&[libc::ENOBUFS, libc::EINTR, libc::ENOBUFS]).unwrap(), Some(Change::lost()));
        assert!(gathered(&[libc::EMSGSIZE, libc::EMSGSIZE]).is_err());
    }

    /// Length 32, type, flags, sequence, sender; family, device type, index 7, flags, change.
    #[test]
    fn only_an_interface_that_is_gone_is_removed() {
        let message = |kind: u16, family: u8| {
            let mut message = vec![32, 0, 0, 0];
            message.extend(kind.to_ne_bytes());
            message.extend([0; 10]);
            message.extend([family, 0, 1, 0]);
            message.extend(7u32.to_ne_bytes());
            message.extend([0; 8]);
            removed(&message)
        };
        assert_eq!(message(libc::RTM_DELLINK, libc::AF_UNSPEC as u8), Some(IfIndex::new(7)));
        assert_eq!(message(libc::RTM_DELLINK, libc::AF_BRIDGE as u8), None);
        assert_eq!(message(libc::RTM_NEWLINK, libc::AF_UNSPEC as u8), None);
        assert_eq!(removed(&[0; 31]), None);
    }

    #[test]
    fn a_message_says_what_has_changed() {
        let change = |kind: u16| {
            let mut change = Change::default();
            change.add(
                &[&[32, 0, 0, 0][..], &kind.to_ne_bytes(), &[0; 14], &7u32.to_ne_bytes(), &[0; 8]].concat(),
            );
            change
        };
        let filters = Change { filters: BTreeSet::from([IfIndex::new(7)]), ..Change::default() };
        assert_eq!(change(libc::RTM_NEWTFILTER), filters);
        assert_eq!(change(libc::RTM_DELTFILTER), filters);
        assert_eq!(change(libc::RTM_NEWTCLASS), Change::default());
        assert_eq!(change(libc::RTM_DELROUTE), Change { routes: true, ..Change::default() });
        let interfaces = Change { interfaces: true, ..Change::default() };
        for kind in [libc::RTM_NEWQDISC, libc::RTM_DELQDISC] {
            assert_eq!(
                change(kind),
                Change { filters: BTreeSet::from([IfIndex::new(7)]), ..interfaces.clone() }
            );
        }
        for kind in [libc::RTM_NEWLINK, libc::RTM_DELADDR] {
            assert_eq!(change(kind), interfaces);
        }
        assert_eq!(
            change(libc::RTM_DELLINK),
            Change { removed: BTreeSet::from([IfIndex::new(7)]), ..interfaces }
        );
    }
}
