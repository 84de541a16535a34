//! Flows of conntrack that are translated.

use std::{
    io,
    net::{SocketAddr, SocketAddrV4},
};

use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use crate::netlink::{
    DUMP,
    ctnetlink::{GET, HEADER, ORIGINAL, REPLY, Tuple},
    message::attribute,
    request,
};

/// A `struct nfgenmsg` for IPv4.
const QUESTION: [u8; HEADER] = [libc::AF_INET as u8, 0, 0, 0];

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
    let tuple = |number| Tuple::read(attribute(body.get(HEADER..)?, number)?);
    let (original, reply) = (tuple(ORIGINAL)?, tuple(REPLY)?);
    let tracked = matches!(original.protocol.into(), libc::IPPROTO_TCP | libc::IPPROTO_UDP);
    let (SocketAddr::V4(remote), SocketAddr::V4(external)) = (reply.source, reply.destination) else {
        return None;
    };
    let translated = original.source != reply.destination;
    (tracked && translated).then_some(Flow { protocol: original.protocol, remote, external })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::build;

    #[test]
    fn what_is_translated_has_another_source() {
        let [inside, outside, external] = ["10.0.0.11:40000", "192.0.2.1:53", "203.0.113.1:1024"]
            .map(|end| end.parse::<SocketAddrV4>().unwrap());
        let of = |external: SocketAddrV4| {
            let tuple = |number, source: SocketAddrV4, destination: SocketAddrV4| {
                let tuple = Tuple { protocol: 17, source: source.into(), destination: destination.into() };
                build::nested(number, &[tuple.build().unwrap()])
            };
            let tuples = [tuple(ORIGINAL, inside, outside), tuple(REPLY, outside, external)];
            flow(&[&QUESTION[..], &tuples.concat()].concat())
        };
        assert_eq!(of(external), Some(Flow { protocol: 17, remote: outside, external }));
        assert_eq!(of(inside), None);
        assert_eq!(flow(&QUESTION), None);
        assert_eq!(flow(&[]), None);
    }
}
