//! TCP connections of which conntrack has not seen all packets. It knows old sequence numbers alone, and never catches
//! up: the next segments are out of window to it, unless it is told to take them. And it may have seen data last, and
//! not that they were acknowledged: then it keeps the connection for `nf_conntrack_tcp_timeout_unacknowledged`, five
//! minutes, in the place of the days of an established one, and what an end sends later has no translation. So it is
//! told, as the kernel's own flow table tells it (`nft_flow_offload_eval`, `flow_offload_fixup_ct`). Row T10.

use std::{fs, io, net::SocketAddr};

use natbpf_common::wire::protocol::TCP;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use super::conntrack::{self, Conntrack};
use crate::netlink::{
    Asker, DO, REQUEST,
    ctnetlink::{CHANGE, GET, HEADER, INFO_TCP, PROTOCOL_INFO, TCP_STATE, TIMEOUT, Tuple},
    message::{
        attribute,
        build::{self, nested},
    },
};

/// `CTA_PROTOINFO_TCP_FLAGS_ORIGINAL` and `CTA_PROTOINFO_TCP_FLAGS_REPLY`
const FLAGS: [u16; 2] = [4, 5];

/// `TCP_CONNTRACK_ESTABLISHED`, `IP_CT_TCP_FLAG_BE_LIBERAL` and `IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED`
/// (linux/netfilter/nf_conntrack_tcp.h).
const ESTABLISHED: u8 = 3;
const LIBERAL: u8 = 8;
const UNACKNOWLEDGED: u8 = 0x10;

/// Where conntrack's timeouts are, in seconds, of the namespace of the thread that reads them.
const TIMEOUTS: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_";

/// The two ends of a connection, as its packets have them somewhere on their way.
pub type Ends = (SocketAddr, SocketAddr);

/// conntrack of a network namespace.
#[derive(Debug)]
pub struct Tracker {
    asker: Asker,
    /// How long an established connection is kept, in seconds.
    established: u32,
    /// How long it is at most where it has not seen what it waits for.
    doubted: u32,
}

impl Tracker {
    /// That of the calling thread's network namespace. `None`: there is none, or nothing that it may doubt would be
    /// kept for less.
    pub fn open() -> io::Result<Option<Self>> {
        // To ask it would load it.
        if conntrack::look() == Conntrack::Absent {
            return Ok(None);
        }
        let [established, unacknowledged, retransmitted] =
            ["established", "unacknowledged", "max_retrans"].map(timeout);
        let (established, doubted) = (established?, unacknowledged?.max(retransmitted?));
        if established <= doubted {
            return Ok(None);
        }
        Ok(Some(Self { asker: Asker::open(NETLINK_NETFILTER)?, established, doubted }))
    }

    /// Has a connection go on whatever of it was not seen, and be kept as an established one. False: it is not known.
    pub fn keep(&self, ends: &Ends) -> io::Result<bool> {
        let Some(question) = question(ends) else { return Ok(false) };
        let found = self.asker.ask(GET, REQUEST, &question, Entry::read);
        let entry = match found {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(false),
            found => found?.pop(),
        };
        let Some(entry) = entry else { return Ok(false) };
        if entry.is_wrong(self.doubted) {
            let seconds = if entry.left <= self.doubted { self.established } else { entry.left };
            let gone = |error: &io::Error| error.raw_os_error() == Some(libc::ENOENT);
            match self.asker.ask(CHANGE, DO, &change(question, seconds), |_| Some(())) {
                Err(error) if !gone(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(true)
    }
}

fn timeout(of: &str) -> io::Result<u32> {
    let text = fs::read_to_string(format!("{TIMEOUTS}{of}"))?;
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// What is asked for of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    state: u8,
    /// Of both directions.
    liberal: bool,
    /// Seconds.
    left: u32,
}

impl Entry {
    fn read(body: &[u8]) -> Option<Self> {
        let body = body.get(HEADER..)?;
        let tcp = attribute(attribute(body, PROTOCOL_INFO)?, INFO_TCP)?;
        let flags = |number| attribute(tcp, number)?.first().copied();
        let left = attribute(body, TIMEOUT)?.first_chunk()?;
        Some(Self {
            state: *attribute(tcp, TCP_STATE)?.first()?,
            liberal: FLAGS.iter().all(|number| flags(*number).is_some_and(|flags| flags & LIBERAL != 0)),
            left: u32::from_be_bytes(*left),
        })
    }

    /// Whether it would stop, or is kept for no longer than so many seconds, for want of packets that were repeated.
    /// One that is about to end is not: its last packets are never repeated.
    const fn is_wrong(&self, doubted: u32) -> bool {
        self.state == ESTABLISHED && (!self.liberal || self.left <= doubted)
    }
}

/// `None`: no connection has such ends.
fn question((source, destination): &Ends) -> Option<Vec<u8>> {
    Tuple { protocol: TCP, source: *source, destination: *destination }.question()
}

fn change(question: Vec<u8>, seconds: u32) -> Vec<u8> {
    // Flags, and a mask of those that count (`struct nf_ct_tcp_flags`).
    let flags = FLAGS.map(|number| build::attribute(number, &[LIBERAL, LIBERAL | UNACKNOWLEDGED]));
    let timeout = build::attribute(TIMEOUT, &seconds.to_be_bytes());
    [question, timeout, nested(PROTOCOL_INFO, &[nested(INFO_TCP, &flags)])].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(state: u8, flags: [u8; 2], left: u32) -> Vec<u8> {
        let [original, reply] = flags;
        let tcp = nested(
            INFO_TCP,
            &[
                build::attribute(TCP_STATE, &[state]),
                build::attribute(FLAGS[0], &[original, 0]),
                build::attribute(FLAGS[1], &[reply, 0]),
            ],
        );
        let mut body = vec![2, 0, 0, 0];
        body.extend(build::attribute(TIMEOUT, &left.to_be_bytes()));
        body.extend(nested(PROTOCOL_INFO, &[tcp]));
        body
    }

    #[test]
    fn an_established_connection_has_to_be_liberal_and_to_be_kept_for_long() {
        let wrong = |state, flags, left| Entry::read(&answer(state, flags, left)).unwrap().is_wrong(300);
        let liberal = [LIBERAL, LIBERAL | UNACKNOWLEDGED];
        assert!(!wrong(ESTABLISHED, liberal, 301));
        assert!(wrong(ESTABLISHED, liberal, 300));
        assert!(wrong(ESTABLISHED, [LIBERAL, 0], 301));
        // FIN_WAIT
        assert!(!wrong(4, [0, 0], 100));
    }

    #[test]
    fn half_an_answer_is_none() {
        let whole = answer(ESTABLISHED, [0, 0], 1);
        let cut = |length: &usize| Entry::read(&whole[..*length]).is_none_or(|entry| !entry.liberal);
        assert!((0..whole.len()).all(|length| cut(&length)));
        assert_eq!(Entry::read(&[]), None);
    }
}
