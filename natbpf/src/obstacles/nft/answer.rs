//! Messages of nf_tables.

/// Families (`NFPROTO_…`).
pub const INET: u8 = 1;
pub const IPV4: u8 = 2;
pub const ARP: u8 = 3;
pub const NETDEV: u8 = 5;
pub const BRIDGE: u8 = 7;
pub const IPV6: u8 = 10;

/// A message of an answer, and its family.
#[derive(Clone, Debug)]
pub struct Answer {
    pub family: u8,
    pub attributes: Vec<u8>,
}
