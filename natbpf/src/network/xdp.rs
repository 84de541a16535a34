//! Which XDP program is on an interface, asked for by itself: one that comes by a BPF link no message tells of.

use std::io;

use rtnetlink::sys::protocols::NETLINK_ROUTE;

use natbpf_common::IfIndex;

use crate::netlink::{
    REQUEST,
    message::{attribute, build, u32_at},
    request,
};

/// Bytes of a `struct ifinfomsg` (rtnetlink(7)).
const HEADER: usize = 16;

/// `IFLA_EXT_MASK`, `RTEXT_FILTER_SKIP_STATS`, `IFLA_XDP`, `IFLA_XDP_PROG_ID` (linux/if_link.h, rtnetlink.h).
const MASK: u16 = 29;
const SKIP_STATISTICS: u32 = 1 << 3;
const XDP: u16 = 43;
const PROGRAM: u16 = 4;

/// The kernel's number of it; 0: there is none. In the network namespace of the calling thread.
pub fn xdp_program(interface: IfIndex) -> io::Result<u32> {
    let mut body = vec![0; HEADER];
    body[4..8].copy_from_slice(&interface.number().to_ne_bytes());
    body.extend(build::attribute(MASK, &SKIP_STATISTICS.to_ne_bytes()));
    let programs = request(NETLINK_ROUTE, libc::RTM_GETLINK, REQUEST, &body, |body| Some(program(body)))?;
    Ok(programs.first().copied().unwrap_or_default())
}

fn program(body: &[u8]) -> u32 {
    let xdp = body.get(HEADER..).and_then(|attributes| attribute(attributes, XDP));
    xdp.and_then(|xdp| attribute(xdp, PROGRAM)).and_then(|number| u32_at(number, 0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_in_an_attribute_of_an_attribute() {
        let xdp = [build::attribute(2, &[2]), build::attribute(PROGRAM, &77u32.to_ne_bytes())].concat();
        let body = [vec![0; HEADER], build::attribute(3, b"br0\0"), build::attribute(XDP, &xdp)].concat();
        assert_eq!(program(&body), 77);
        assert_eq!(program(&body[..HEADER + 8]), 0);
        assert_eq!(program(&[]), 0);
    }

    #[test]
    fn the_loopback_has_none() {
        assert_eq!(xdp_program(IfIndex::new(1)).unwrap(), 0);
        assert_eq!(xdp_program(IfIndex::new(u32::MAX >> 1)).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
