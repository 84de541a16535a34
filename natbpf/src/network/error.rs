//! What goes wrong with netlink.

use std::io;

/// Why the kernel could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("cannot open a netlink socket: {0}; natbpf needs NETLINK_ROUTE")]
    Open(io::Error),
    #[error("cannot list interfaces and addresses by netlink: {0}")]
    Dump(rtnetlink::Error),
    #[error("cannot watch interfaces and addresses by netlink: {0}")]
    Watch(io::Error),
}
