//! Tables of nf_tables, whether or not a program is there that shows what is in them.

use std::io;

use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use crate::netlink::{DUMP, message::attribute, request};

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE` and `NFTA_TABLE_NAME` (linux/netfilter/nf_tables.h)
const GET: u16 = 0x0a01;
const NAME: u16 = 1;

/// Bytes of a `struct nfgenmsg`, which begins with the family.
const HEADER: usize = 4;

/// Those of iptables for IPv4.
const OF_IPTABLES: [&str; 5] = ["raw", "mangle", "nat", "filter", "security"];

/// What a kernel without nf_tables says.
const ABSENT: [i32; 4] = [libc::EPROTONOSUPPORT, libc::EOPNOTSUPP, libc::EINVAL, libc::EAFNOSUPPORT];

/// A table by what decides who shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// It may be one of iptables.
    Iptables,
    Native,
    /// Nothing in it is for IPv4.
    Other,
}

/// Those of the namespace of the calling thread.
pub fn look() -> io::Result<Vec<Table>> {
    match request(NETLINK_NETFILTER, GET, DUMP, &[0; HEADER], table) {
        // A kernel without nf_tables.
        Err(error) if error.raw_os_error().is_some_and(|code| ABSENT.contains(&code)) => Ok(Vec::new()),
        tables => tables,
    }
}

fn table(body: &[u8]) -> Option<Table> {
    let name = attribute(body.get(HEADER..)?, NAME)?;
    let name = name.strip_suffix(b"\0").unwrap_or(name);
    let known = OF_IPTABLES.iter().any(|known| known.as_bytes() == name);
    Some(match i32::from(body[0]) {
        libc::NFPROTO_IPV4 if known => Table::Iptables,
        libc::NFPROTO_IPV6 | libc::NFPROTO_ARP => Table::Other,
        // Those of ebtables have no other families.
        libc::NFPROTO_BRIDGE if matches!(name, b"filter" | b"nat" | b"broute") => Table::Other,
        _ => Table::Native,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::build;

    #[test]
    fn who_shows_a_table() {
        let of = |family: i32, name: &[u8]| {
            let header = [u8::try_from(family).unwrap(), 0, 0, 0];
            table(&[&header[..], &build::attribute(NAME, name)].concat())
        };
        assert_eq!(of(libc::NFPROTO_IPV4, b"nat\0"), Some(Table::Iptables));
        assert_eq!(of(libc::NFPROTO_IPV4, b"kube-proxy\0"), Some(Table::Native));
        assert_eq!(of(libc::NFPROTO_INET, b"filter\0"), Some(Table::Native));
        assert_eq!(of(libc::NFPROTO_IPV6, b"mine\0"), Some(Table::Other));
        assert_eq!(table(&[0; HEADER]), None);
    }
}
