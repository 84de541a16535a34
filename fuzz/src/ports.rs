//! Which ends of a packet have a port that is translated.

use natbpf_common::wire::protocol::{ICMP, Transport};

/// Whether the destination, or the source, has one. In an ICMP query and its reply one end has the identifier, and the
/// other the type, which is not translated.
pub fn has_port(protocol: u8, is_reply: bool, destination: bool) -> bool {
    match protocol {
        ICMP => destination == is_reply,
        protocol => Transport::of(protocol).has_ports(),
    }
}
