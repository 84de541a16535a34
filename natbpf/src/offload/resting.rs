//! TCP connections of which conntrack has not seen all packets. It knows old sequence numbers alone, and never catches
//! up: the next segments are out of window to it, unless it is told to take them. And it may have seen data last, and
//! not that they were acknowledged: then it keeps the connection for `nf_conntrack_tcp_timeout_unacknowledged`, five
//! minutes, in the place of the days of an established one, and what an end sends later has no translation. So it is
//! told, as the kernel's own flow table tells it (`nft_flow_offload_eval`, `flow_offload_fixup_ct`). Row T10.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
};

use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use super::conntrack::{self, Conntrack};
use crate::netlink::{
    Asker, DO, REQUEST,
    message::{attribute, build},
};

/// `NFNL_SUBSYS_CTNETLINK` with `IPCTNL_MSG_CT_NEW` and `IPCTNL_MSG_CT_GET` (linux/netfilter/nfnetlink_conntrack.h).
const CHANGE: u16 = 1 << 8;
const GET: u16 = 1 << 8 | 1;

/// Bytes of a `struct nfgenmsg`.
const HEADER: usize = 4;

/// `CTA_TUPLE_ORIG`, which names an entry by either of its tuples; `CTA_PROTOINFO`, `CTA_TIMEOUT`.
const TUPLE: u16 = 1;
const STATE: u16 = 4;
const TIMEOUT: u16 = 7;

/// `CTA_TUPLE_IP` and `CTA_TUPLE_PROTO`, and in them `CTA_IP_V4_SRC`, `CTA_IP_V6_SRC`, and those after them,
/// `CTA_PROTO_NUM`, `CTA_PROTO_SRC_PORT`, `CTA_PROTO_DST_PORT`.
const ADDRESSES: u16 = 1;
const V4: u16 = 1;
const V6: u16 = 3;
const PROTOCOL: u16 = 2;
const NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;

/// `CTA_PROTOINFO_TCP`, and in it `CTA_PROTOINFO_TCP_STATE`, `_FLAGS_ORIGINAL` and `_FLAGS_REPLY`.
const TCP: u16 = 1;
const TCP_STATE: u16 = 1;
const FLAGS: [u16; 2] = [4, 5];

/// `TCP_CONNTRACK_ESTABLISHED`, `IP_CT_TCP_FLAG_BE_LIBERAL` and `IP_CT_TCP_FLAG_DATA_UNACKNOWLEDGED`
/// (linux/netfilter/nf_conntrack_tcp.h).
const ESTABLISHED: u8 = 3;
const LIBERAL: u8 = 8;
const UNACKNOWLEDGED: u8 = 0x10;

/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;

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
        let found = self.asker.ask(GET, REQUEST, &question(ends), Entry::read);
        let entry = match found {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(false),
            found => found?.pop(),
        };
        let Some(entry) = entry else { return Ok(false) };
        if entry.is_wrong(self.doubted) {
            let seconds = if entry.left <= self.doubted { self.established } else { entry.left };
            let gone = |error: &io::Error| error.raw_os_error() == Some(libc::ENOENT);
            match self.asker.ask(CHANGE, DO, &change(ends, seconds), |_| Some(())) {
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
        let tcp = attribute(attribute(body, STATE)?, TCP)?;
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

fn question(ends: &Ends) -> Vec<u8> {
    let family = if ends.0.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut body = vec![family as u8, 0, 0, 0];
    body.extend(nested(TUPLE, &[addresses(ends), protocol(ends)]));
    body
}

fn change(ends: &Ends, seconds: u32) -> Vec<u8> {
    // Flags, and a mask of those that count (`struct nf_ct_tcp_flags`).
    let flags = FLAGS.map(|number| build::attribute(number, &[LIBERAL, LIBERAL | UNACKNOWLEDGED]));
    let mut body = question(ends);
    body.extend(build::attribute(TIMEOUT, &seconds.to_be_bytes()));
    body.extend(nested(STATE, &[nested(TCP, &flags)]));
    body
}

fn addresses((from, to): &Ends) -> Vec<u8> {
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            nested(ADDRESSES, &[build::attribute(V4, &from.octets()), build::attribute(V4 + 1, &to.octets())])
        }
        (from, to) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            nested(ADDRESSES, &[build::attribute(V6, &octets(from)), build::attribute(V6 + 1, &octets(to))])
        }
    }
}

fn protocol((from, to): &Ends) -> Vec<u8> {
    let port = |number, end: &SocketAddr| build::attribute(number, &end.port().to_be_bytes());
    let number = build::attribute(NUMBER, &[libc::IPPROTO_TCP as u8]);
    nested(PROTOCOL, &[number, port(SOURCE_PORT, from), port(DESTINATION_PORT, to)])
}

fn nested(number: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    build::attribute(number | NESTED, &attributes.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(state: u8, flags: [u8; 2], left: u32) -> Vec<u8> {
        let [original, reply] = flags;
        let tcp = nested(
            TCP,
            &[
                build::attribute(TCP_STATE, &[state]),
                build::attribute(FLAGS[0], &[original, 0]),
                build::attribute(FLAGS[1], &[reply, 0]),
            ],
        );
        let mut body = vec![2, 0, 0, 0];
        body.extend(build::attribute(TIMEOUT, &left.to_be_bytes()));
        body.extend(nested(STATE, &[tcp]));
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

    #[test]
    fn a_connection_is_named_by_its_ends() {
        let ends: Ends = ("10.0.0.2:5000".parse().unwrap(), "192.0.2.1:443".parse().unwrap());
        let body = question(&ends);
        assert_eq!(body[..HEADER], [2, 0, 0, 0]);
        let tuple = attribute(&body[HEADER..], TUPLE).unwrap();
        let protocol = attribute(tuple, PROTOCOL).unwrap();
        assert_eq!(attribute(attribute(tuple, ADDRESSES).unwrap(), V4 + 1), Some(&[192, 0, 2, 1][..]));
        assert_eq!(attribute(protocol, NUMBER), Some(&[6][..]));
        assert_eq!(attribute(protocol, SOURCE_PORT), Some(&5000u16.to_be_bytes()[..]));
        assert!(change(&ends, 60).starts_with(&body));
        let six: Ends = ("[2001:db8::1]:1".parse().unwrap(), "[2001:db8::2]:2".parse().unwrap());
        let body = question(&six);
        assert_eq!(body[0], 10);
        let tuple = attribute(&body[HEADER..], TUPLE).unwrap();
        let address = attribute(attribute(tuple, ADDRESSES).unwrap(), V6).unwrap();
        assert_eq!(address, "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    }
}
