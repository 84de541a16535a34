//! When to look for other namespaces: that takes its time where there are hundreds.

use std::{
    collections::BTreeSet,
    io,
    time::{Duration, Instant},
};

use natbpf_common::IfIndex;
use rtnetlink::sys::{Socket, protocols::NETLINK_ROUTE};

use super::{Namespaces, Number, leading};
use crate::{netlink::socket, network::Link};

/// `RTNLGRP_LINK`, `RTNLGRP_TC`, `RTNLGRP_IPV4_NETCONF`, `RTNLGRP_IPV6_NETCONF` and `RTNLGRP_NSID` (linux/rtnetlink.h):
/// what makes a router of a namespace, or ends it, and what has to see each packet there.
const GROUPS: [u32; 5] = [1, 4, 24, 25, 28];

/// So many messages at most say that something has changed: more need not be read one by one.
const BATCH: usize = 1000;

/// Looking takes one part of so many of the time at most, and is not done more often than this.
const SHARE: u32 = 50;
const PAUSE: Duration = Duration::from_millis(300);

/// What no message tells of, such as a name that has come or a device of a namespace without a number, is seen then.
const AGE: Duration = Duration::from_secs(30);

/// What is known of them.
#[derive(Debug, Default)]
pub struct Surroundings {
    known: Namespaces,
    /// For which devices.
    leading: BTreeSet<(IfIndex, Number)>,
    /// When that was, and until when it is good enough whatever happens.
    looked: Option<(Instant, Instant)>,
    /// Tells of all namespaces that have a number here.
    hints: Option<Socket>,
    hinted: bool,
    complaint: Option<String>,
}

impl Surroundings {
    /// The namespaces, for these devices of the calling thread's one. What is not known for want of time is found the
    /// next time: see [`is_due`](Self::is_due).
    pub fn namespaces(&mut self, links: &[Link]) -> Namespaces {
        if self.hints.is_none() {
            self.hints = socket::open_for_all_namespaces(NETLINK_ROUTE, &GROUPS).ok();
        }
        let leading = leading(links);
        self.hinted |= leading != self.leading;
        if self.is_due() {
            self.look(links, leading);
        }
        self.known.clone()
    }

    fn look(&mut self, links: &[Link], leading: BTreeSet<(IfIndex, Number)>) {
        let start = Instant::now();
        let found = Namespaces::find(links);
        let now = Instant::now();
        self.looked = Some((now, now + PAUSE.max((now - start) * SHARE)));
        match found {
            Ok(found) => {
                // What we have done ourselves is among the hints.
                self.heard();
                (self.known, self.leading, self.hinted, self.complaint) = (found, leading, false, None);
            }
            Err(error) => {
                let complaint = Some(error.to_string());
                if self.complaint != complaint {
                    tracing::error!("cannot look for other network namespaces, and tries again: {error}");
                }
                self.complaint = complaint;
            }
        }
    }

    /// Whether to look again. To be asked now and then.
    pub fn is_due(&mut self) -> bool {
        self.hinted |= self.heard();
        self.looked.is_none_or(|(looked, enough)| {
            let gone = self.known.middle.iter().any(|middle| !middle.handle.is_there());
            let wanted = self.hinted || gone || self.complaint.is_some() || looked.elapsed() > AGE;
            wanted && enough <= Instant::now()
        })
    }

    /// Whether something was told since the last time.
    fn heard(&self) -> bool {
        let Some(hints) = &self.hints else { return false };
        let mut heard = false;
        for _ in 0..BATCH {
            match hints.recv(&mut &mut [0u8; 64][..], 0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Some were lost.
                _ => heard = true,
            }
        }
        heard
    }
}
