//! Flows of conntrack that are translated.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
};

use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use crate::netlink::{DUMP, message::attribute, request};

/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_GET` (linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h)
const GET: u16 = 1 << 8 | 1;

/// A `struct nfgenmsg` for IPv4.
const QUESTION: [u8; 4] = [libc::AF_INET as u8, 0, 0, 0];

/// `CTA_TUPLE_ORIG`, `CTA_TUPLE_REPLY`
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;

/// `CTA_TUPLE_IP` with `CTA_IP_V4_SRC` and `CTA_IP_V4_DST`
const ADDRESSES: u16 = 1;
/// `CTA_TUPLE_PROTO` with `CTA_PROTO_NUM`, `CTA_PROTO_SRC_PORT` and `CTA_PROTO_DST_PORT`
const PROTOCOL: u16 = 2;
const NUMBER: u16 = 1;
const SOURCE: [u16; 2] = [1, 2];
const DESTINATION: [u16; 2] = [2, 3];

/// A flow of TCP or UDP whose source is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub protocol: u8,
    /// Whom it is with.
    pub remote: SocketAddrV4,
    /// What its source has become.
    pub external: SocketAddrV4,
}

impl Flow {
    /// So many in a hundred ports that are taken are nearly all: the kernel tries no more than some
    /// (`nf_nat_l4proto_unique_tuple`).
    pub const MANY: u64 = 99;
}

/// Those of the namespace of the calling thread.
pub fn look() -> io::Result<Vec<Flow>> {
    request(NETLINK_NETFILTER, GET, DUMP, &QUESTION, flow)
}

fn flow(body: &[u8]) -> Option<Flow> {
    let body = body.get(QUESTION.len()..)?;
    let (original, reply) = (attribute(body, ORIGINAL)?, attribute(body, REPLY)?);
    let protocol = *attribute(attribute(original, PROTOCOL)?, NUMBER)?.first()?;
    let (source, external) = (end(original, SOURCE)?, end(reply, DESTINATION)?);
    let tracked = matches!(protocol.into(), libc::IPPROTO_TCP | libc::IPPROTO_UDP);
    (tracked && source != external).then_some(Flow { protocol, remote: end(reply, SOURCE)?, external })
}

/// An end of a tuple.
fn end(tuple: &[u8], [address, port]: [u16; 2]) -> Option<SocketAddrV4> {
    let address: [u8; 4] = attribute(attribute(tuple, ADDRESSES)?, address)?.try_into().ok()?;
    let port: [u8; 2] = attribute(attribute(tuple, PROTOCOL)?, port)?.get(..2)?.try_into().ok()?;
    Some(SocketAddrV4::new(Ipv4Addr::from(address), u16::from_be_bytes(port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::build;

    fn tuple(number: u16, source: ([u8; 4], u16), destination: ([u8; 4], u16)) -> Vec<u8> {
        let port = |number, port: u16| build::attribute(number, &port.to_be_bytes());
        let addresses = [build::attribute(1, &source.0), build::attribute(2, &destination.0)].concat();
        let protocol = [build::attribute(1, &[17]), port(2, source.1), port(3, destination.1)].concat();
        let parts = [build::attribute(ADDRESSES, &addresses), build::attribute(PROTOCOL, &protocol)];
        build::attribute(number, &parts.concat())
    }

    #[test]
    fn what_is_translated_has_another_source() {
        let (inside, outside) = (([10, 0, 0, 11], 40_000), ([192, 0, 2, 1], 53));
        let of = |external| {
            let tuples = [tuple(ORIGINAL, inside, outside), tuple(REPLY, outside, external)];
            flow(&[&QUESTION[..], &tuples.concat()].concat())
        };
        let external = ([203, 0, 113, 1], 1024);
        let end = |(address, port): ([u8; 4], u16)| SocketAddrV4::new(address.into(), port);
        let wanted = Flow { protocol: 17, remote: end(outside), external: end(external) };
        assert_eq!(of(external), Some(wanted));
        assert_eq!(of(inside), None);
        assert_eq!(flow(&QUESTION), None);
    }
}
