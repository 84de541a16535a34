//! Entries of nf_conntrack that somebody deletes (`conntrack -D`, `conntrack -F`), which means that the
//! connection is to be judged anew, or to end. Most entries are deleted by nobody: they expire, on a busy host
//! thousands a second, and nothing of them is to be heard here.

use std::{io, time::Duration};

use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use tokio::time::Instant;

use super::judge::{Reason, first};
use crate::{netlink::socket::set, offload::conntrack};

/// `NFNLGRP_CONNTRACK_DESTROY` (linux/netfilter/nfnetlink.h)
const DESTROYED: u32 = 3;

/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_DELETE` (linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h).
const DELETE: u16 = 1 << 8 | 2;

/// Where a `struct nlmsghdr` has the port of the program that has asked for what it tells; 0: none, the kernel
/// did it by itself.
const PORT: u32 = 12;

/// Bytes that the socket keeps. If there is no room, something was deleted: more need not be known.
const BUFFER: i32 = 1 << 16;

/// Between two that count, while somebody deletes one after the other, such as a daemon that keeps the tables
/// of two hosts alike.
const INTERVAL: Duration = Duration::from_millis(500);

/// Fails where there is no nf_conntrack yet: to ask for its messages would load it.
pub fn open() -> io::Result<Socket> {
    if conntrack::look() == conntrack::Conntrack::Absent {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.set_non_blocking(true)?;
    set(&socket, libc::SO_RCVBUF, &BUFFER)?;
    // Before anything can be in the queue.
    attach_filter(&socket)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.add_membership(DESTROYED)?;
    Ok(socket)
}

/// Has the kernel leave out what expires, so that it wakes nobody.
fn attach_filter(socket: &Socket) -> io::Result<()> {
    let statement = |code: u32, k, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, PORT, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, 0),
        statement(libc::BPF_RET | libc::BPF_K, u32::MAX, 0, 0),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    set(socket, libc::SO_ATTACH_FILTER, &program)
}

pub fn judge(datagram: &[u8]) -> Option<Reason> {
    first(datagram, Reason::Connection, |kind| kind == DELETE)
}

/// Lets deletions count at once, and then no more than every [`INTERVAL`].
#[derive(Debug, Default)]
pub struct Deletions {
    last: Option<Instant>,
    waiting: bool,
}

impl Deletions {
    pub const fn add(&mut self) {
        self.waiting = true;
    }

    /// When one is to count; that may be over.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.waiting.then(|| self.last.map_or(now, |last| last + INTERVAL))
    }

    pub fn count(&mut self, now: Instant) {
        (self.last, self.waiting) = (Some(now), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::build;

    #[test]
    fn what_is_deleted_counts() {
        assert_eq!(judge(&build::message(DELETE, 0, &[2, 0, 0, 0])), Some(Reason::Connection));
        assert_eq!(judge(&build::message(DELETE - 2, 0, &[2, 0, 0, 0])), None);
        assert_eq!(judge(&build::message(DELETE, 0, &[2, 0, 0, 0])[..19]), Some(Reason::Lost));
    }

    #[test]
    fn the_first_counts_at_once_and_many_now_and_then() {
        let start = Instant::now();
        let mut deletions = Deletions::default();
        assert_eq!(deletions.due(start), None);
        deletions.add();
        assert_eq!(deletions.due(start), Some(start));
        deletions.count(start);
        assert_eq!(deletions.due(start), None);
        for _ in 0..1000 {
            deletions.add();
        }
        assert_eq!(deletions.due(start), Some(start + INTERVAL));
        deletions.count(start + INTERVAL);
        assert_eq!(deletions.due(start + INTERVAL), None);
        deletions.add();
        let later = start + 10 * INTERVAL;
        assert!(deletions.due(later).is_some_and(|due| due <= later));
    }
}
