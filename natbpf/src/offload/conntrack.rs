//! What offload needs of nf_conntrack: repeated packets are unseen by it, so that the next one it sees may
//! seem out of window. With this sysctl it takes such a packet for what it is (`tcp_in_window` in
//! nf_conntrack_proto_tcp.c).

use std::{fs, io};

/// As sysctl(8) names it.
pub const SYSCTL: &str = "net.netfilter.nf_conntrack_tcp_be_liberal";

/// That of the network namespace of the thread that opens it.
const PATH: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal";

/// How the conntrack of the calling thread's network namespace takes segments that are out of window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conntrack {
    /// There is none; it may come when somebody adds a rule that needs it.
    Absent,
    /// It lets them pass as part of their connection.
    Liberal,
    /// They are invalid.
    Strict,
}

pub fn look() -> Conntrack {
    match fs::read_to_string(PATH) {
        Ok(value) => of_value(&value),
        Err(_) => Conntrack::Absent,
    }
}

fn of_value(value: &str) -> Conntrack {
    if value.trim() == "0" { Conntrack::Strict } else { Conntrack::Liberal }
}

pub fn make_liberal() -> io::Result<()> {
    // Row M29.
    fs::write(PATH, "1")
}

/// As it was. Nothing is to be done where it is so already, or where conntrack is gone.
pub fn make_strict() -> io::Result<()> {
    match look() {
        Conntrack::Liberal => fs::write(PATH, "0"),
        Conntrack::Absent | Conntrack::Strict => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_but_zero_is_liberal() {
        assert_eq!(of_value("0\n"), Conntrack::Strict);
        assert_eq!(of_value("1\n"), Conntrack::Liberal);
        assert_eq!(of_value("2"), Conntrack::Liberal);
    }
}
