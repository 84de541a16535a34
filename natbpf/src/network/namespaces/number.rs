//! The numbers that the namespace of the calling thread has for others (`nsid`, ip-netns(8)): each namespace counts the
//! others for itself, and the kernel gives a number to whatever a device of its leads to.

use std::{fs::File, io, os::fd::AsRawFd as _};

use rtnetlink::sys::protocols::NETLINK_ROUTE;

use crate::netlink::{
    DO, REQUEST,
    message::{attribute, build, u32_at},
    request,
};

/// A number, or the kernel's word for none.
pub type Number = i32;

/// `NETNSA_NSID_NOT_ASSIGNED`
const NONE: Number = -1;

/// `NETNSA_NSID` and `NETNSA_FD` (linux/net_namespace.h)
const NUMBER: u16 = 1;
const FILE: u16 = 3;

/// `RTM_NEWNSID` and `RTM_GETNSID` (linux/rtnetlink.h)
const NEW: u16 = 88;
const GET: u16 = 90;

/// Bytes of a `struct rtgenmsg`, with what comes behind for the sake of alignment.
const HEADER: usize = 4;

/// `None`: it has none.
pub fn of(namespace: &File) -> io::Result<Option<Number>> {
    let read = |body: &[u8]| Some(u32_at(attribute(body.get(HEADER..)?, NUMBER)?, 0)?.cast_signed());
    let numbers = request(NETLINK_ROUTE, GET, REQUEST, &question(namespace, &[]), read)?;
    Ok(numbers.first().copied().filter(|number| *number != NONE))
}

/// Has the kernel give it one, as `ip netns set NAME auto` does.
pub fn give(namespace: &File) -> io::Result<Option<Number>> {
    let any = build::attribute(NUMBER, &NONE.to_ne_bytes());
    request(NETLINK_ROUTE, NEW, DO, &question(namespace, &any), |_| Some(()))?;
    of(namespace)
}

fn question(namespace: &File, more: &[u8]) -> Vec<u8> {
    [&[0; HEADER], &*build::attribute(FILE, &namespace.as_raw_fd().to_ne_bytes()), more].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_namespace_has_no_number() {
        assert!(of(&File::open("/proc/self/status").unwrap()).is_err());
    }
}
