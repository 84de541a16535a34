//! Hearing of changes, by all the sockets there are.

use std::{io, mem};

use rtnetlink::sys::{
    Socket,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE},
};
use tokio::{io::unix::AsyncFd, time::Instant};

use super::{
    conntrack,
    judge::{Judge, Reason},
    openvswitch,
    place::Place,
    tables::{Question, Tables},
    xfrm,
};
use crate::{
    clock::wait_until,
    netlink::socket::{Received, batch, open, readable, register},
};

/// Groups of `NETLINK_ROUTE` (`RTNLGRP_LINK`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV4_RULE`, `_IPV6_IFADDR`,
/// `_IPV6_ROUTE`, `_IPV6_RULE`, `_IPV4_NETCONF`, `_IPV6_NETCONF`, `_NEXTHOP`, `_BRVLAN` of linux/rtnetlink.h).
const ROUTE: [u32; 11] = [1, 5, 7, 8, 9, 11, 19, 24, 25, 32, 33];

/// `RTNLGRP_TC`. Of the own namespace the daemon hears by itself, and knows which of it is its own.
const TRAFFIC_CONTROL: u32 = 4;

/// `RTNLGRP_NEIGH`
const NEIGHBOURS: [u32; 1] = [3];

/// `NFNLGRP_NFTABLES` (linux/netfilter/nfnetlink.h)
const NFTABLES: u32 = 7;

/// The kernel sends no datagram that is longer.
const DATAGRAM: usize = 1 << 16;

/// What is asked for: interfaces, and neighbours and stations.
const ASK_LINKS: [Question; 1] = [(libc::RTM_GETLINK, libc::AF_UNSPEC, 16)];
const ASK_NEIGHBOURS: [Question; 3] = [
    (libc::RTM_GETNEIGH, libc::AF_INET, 12),
    (libc::RTM_GETNEIGH, libc::AF_INET6, 12),
    (libc::RTM_GETNEIGH, libc::AF_BRIDGE, 12),
];

/// The sockets.
#[derive(Debug)]
pub struct Sockets {
    route: Socket,
    /// For itself: an instance that sends from ever new MAC addresses fills this one, and nothing else is lost.
    neighbours: Socket,
    /// There is none as long as the kernel has no nfnetlink.
    netfilter: Option<Socket>,
    /// Nor here, if it has no IPsec.
    xfrm: Option<Socket>,
    /// Or no Open vSwitch.
    switch: Option<Socket>,
}

impl Sockets {
    pub fn open(place: &Place) -> io::Result<Self> {
        let mut groups = ROUTE.to_vec();
        groups.extend(place.name().map(|_| TRAFFIC_CONTROL));
        place.enter(|| Self::open_there(&groups))
    }

    fn open_there(groups: &[u32]) -> io::Result<Self> {
        Ok(Self {
            route: open(NETLINK_ROUTE, groups)?,
            neighbours: open(NETLINK_ROUTE, &NEIGHBOURS)?,
            netfilter: open_netfilter().ok(),
            xfrm: xfrm::open().ok(),
            switch: openvswitch::open().ok(),
        })
    }
}

fn open_netfilter() -> io::Result<Socket> {
    let socket = open(NETLINK_NETFILTER, &[])?;
    socket.add_membership(NFTABLES)?;
    Ok(socket)
}

/// Listens.
#[derive(Debug)]
pub struct Listener {
    place: Place,
    route: Tables,
    neighbours: Tables,
    /// Neighbours are to be asked for, when what has waited is answered.
    unknown: bool,
    netfilter: Option<AsyncFd<Socket>>,
    xfrm: Option<AsyncFd<Socket>>,
    switch: Option<AsyncFd<Socket>>,
    /// Only while offload is on.
    conntrack: Option<AsyncFd<Socket>>,
    judge: Judge,
    buffer: Vec<u8>,
}

impl Listener {
    /// Needs a Tokio runtime.
    pub fn new(place: Place, sockets: Sockets) -> io::Result<Self> {
        Ok(Self {
            judge: Judge::of_namespace(place.name()),
            place,
            route: Tables::new(register(sockets.route)?, &ASK_LINKS)?,
            neighbours: Tables::new(register(sockets.neighbours)?, &ASK_NEIGHBOURS)?,
            unknown: false,
            netfilter: sockets.netfilter.map(register).transpose()?,
            xfrm: sockets.xfrm.map(register).transpose()?,
            switch: sockets.switch.map(register).transpose()?,
            conntrack: None,
            buffer: Vec::with_capacity(DATAGRAM),
        })
    }

    /// nfnetlink may have come with the first rule, and Open vSwitch with its first bridge.
    pub fn look_for_more(&mut self) -> Option<Reason> {
        if self.switch.is_none() && openvswitch::is_there() {
            self.switch = self.place.enter(openvswitch::open).and_then(register).ok();
            if self.switch.is_some() {
                return Some(Reason::Switch);
            }
        }
        if self.netfilter.is_none() {
            self.netfilter = self.place.enter(open_netfilter).and_then(register).ok();
            return self.netfilter.as_ref().map(|_| Reason::Ruleset);
        }
        None
    }

    /// Whether to hear of connections that somebody deletes. Where there is no conntrack yet, it is to be
    /// asked for again.
    pub fn follow_conntrack(&mut self, follow: bool) {
        if !follow {
            self.conntrack = None;
        } else if self.conntrack.is_none() {
            self.conntrack = self.place.enter(conntrack::open).and_then(register).ok();
        }
    }

    /// Waits until something is told, and says whether it is a change; many at once count as one. Cancel safe.
    pub async fn next(&mut self) -> io::Result<Option<Reason>> {
        tokio::select! {
            () = wait_until(self.judge.due()) => self.settle(),
            ready = readable(Some(&self.route.socket)) => ready.and_then(|()| self.read_route()),
            ready = readable(Some(&self.neighbours.socket)) => ready.and_then(|()| self.read_neighbours()),
            ready = readable(self.netfilter.as_ref()) => {
                ready.and_then(|()| read(self.netfilter.as_ref(), &mut self.buffer, Judge::netfilter))
            }
            ready = readable(self.xfrm.as_ref()) => {
                ready.and_then(|()| read(self.xfrm.as_ref(), &mut self.buffer, xfrm::judge))
            }
            ready = readable(self.switch.as_ref()) => {
                ready?;
                if let Some(reason) = read(self.switch.as_ref(), &mut self.buffer, openvswitch::judge)? {
                    self.judge.owe(reason, Instant::now());
                }
                Ok(None)
            }
            ready = readable(self.conntrack.as_ref()) => {
                ready?;
                // What is lost there was a deletion.
                let reason = read(self.conntrack.as_ref(), &mut self.buffer, conntrack::judge)?;
                Ok(reason.map(|_| Reason::Connection))
            }
        }
    }

    fn read_route(&mut self) -> io::Result<Option<Reason>> {
        let heard = self.route.read(&mut self.judge, &mut self.buffer)?;
        if heard.unknown {
            self.judge.forget_links();
            self.route.ask_for_all()?;
        }
        Ok(heard.reason.or(heard.anything))
    }

    /// An instance can have messages lost all the time, and the longer the table that it fills is, the more
    /// there is to be asked for.
    fn read_neighbours(&mut self) -> io::Result<Option<Reason>> {
        let heard = self.neighbours.read(&mut self.judge, &mut self.buffer)?;
        if let Some(anything) = heard.anything {
            self.judge.owe(anything, Instant::now());
        }
        self.unknown |= heard.unknown;
        Ok(heard.reason)
    }

    /// What has waited.
    fn settle(&mut self) -> io::Result<Option<Reason>> {
        let reason = self.judge.settle(Instant::now());
        if reason.is_some() && mem::take(&mut self.unknown) {
            self.judge.forget_neighbours();
            self.neighbours.ask_for_all()?;
        }
        Ok(reason)
    }
}

/// The first reason of a batch.
fn read(
    socket: Option<&AsyncFd<Socket>>,
    buffer: &mut Vec<u8>,
    judge: impl Fn(&[u8]) -> Option<Reason>,
) -> io::Result<Option<Reason>> {
    let Some(socket) = socket else { return Ok(None) };
    let mut found = None;
    batch(socket, buffer, |received, datagram| {
        found = found.or_else(|| match received {
            Received::Datagram => judge(datagram),
            Received::Lost => Some(Reason::Lost),
            Received::Nothing => None,
        });
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn everything_is_asked_for_at_the_start_and_then_nothing_happens() {
        let mut listener = Listener::new(Place::Here, Sockets::open(&Place::Here).unwrap()).unwrap();
        let mut reasons = Vec::new();
        while !(listener.route.is_known() && listener.neighbours.is_known()) {
            let next = timeout(Duration::from_secs(5), listener.next()).await.expect("answers");
            reasons.extend(next.unwrap());
        }
        assert!(reasons.contains(&Reason::Asked), "{reasons:?}");
    }
}
