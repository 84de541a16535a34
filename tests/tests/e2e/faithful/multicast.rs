//! A multicast datagram goes to many: what the gateway forwards of it is one copy, and the others get theirs.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;
use std::{io, thread};

use anyhow::{Context, Result, ensure};
use lab::{GATEWAY, GATEWAY_INSIDE, Kind, Lab, Namespace, SERVER, VM1, VM2};
use nix::net::if_::if_nametoindex;

use crate::e2e::twin::{each, standard_rule};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const PORT: u16 = 5000;
const COUNT: usize = 100;

// linux/mroute.h
const MRT_INIT: libc::c_int = 200;
const MRT_ADD_VIF: libc::c_int = 202;
const MRT_ADD_MFC: libc::c_int = 204;
const VIFF_USE_IFINDEX: u8 = 8;

/// The route of vm1's datagrams to the group, from `br0` to `wan`; there as long as the socket is.
fn multicast_route(gw: &Namespace) -> Result<OwnedFd> {
    let route = gw.enter(|| -> Result<OwnedFd> {
        // SAFETY: socket(2) takes no pointers.
        let fd =
            unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_IGMP) };
        ensure!(fd >= 0, "cannot open a socket for IGMP: {}", io::Error::last_os_error());
        // SAFETY: a descriptor that was just made and that nobody else has.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        set(&socket, MRT_INIT, &1_i32.to_ne_bytes())?;
        for (number, device) in [(0_u16, "br0"), (1, "wan")] {
            // struct vifctl: number, flags, threshold, limit of rate, interface, remote address.
            let mut interface = number.to_ne_bytes().to_vec();
            interface.extend([VIFF_USE_IFINDEX, 1]);
            interface.extend([0; 4]);
            interface.extend(if_nametoindex(device)?.to_ne_bytes());
            interface.extend([0; 4]);
            set(&socket, MRT_ADD_VIF, &interface)?;
        }
        // struct mfcctl: origin, group, number of the interface it comes by, a threshold for each where it
        // leaves, counters.
        let mut entry = [VM1.octets(), GROUP.octets()].concat();
        entry.extend(0_u16.to_ne_bytes());
        entry.extend([0, 1]);
        entry.resize(60, 0);
        set(&socket, MRT_ADD_MFC, &entry)?;
        Ok(socket)
    });
    route?.context("a multicast route")
}

fn set(socket: &OwnedFd, option: libc::c_int, value: &[u8]) -> Result<()> {
    let size = value.len() as libc::socklen_t;
    // SAFETY: the value is given with its size.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, option, value.as_ptr().cast(), size)
    };
    ensure!(done == 0, "multicast routing, option {option}: {}", io::Error::last_os_error());
    Ok(())
}

fn member(ns: &Namespace, address: Ipv4Addr) -> Result<UdpSocket> {
    let socket = ns.udp((GROUP, PORT))?;
    ns.enter(|| socket.join_multicast_v4(&GROUP, &address))??;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    Ok(socket)
}

/// How many datagrams came from this address.
fn received(socket: &UdpSocket, from: Ipv4Addr) -> usize {
    let datagrams = std::iter::from_fn(|| socket.recv_from(&mut [0; 64]).ok());
    datagrams.filter(|(_, sender)| sender.ip() == from).count()
}

#[test]
fn everybody_in_the_group_gets_every_datagram() -> Result<()> {
    each(|kind| {
        let lab = Lab::new()?;
        lab.gw.ip(&format!("link set br0 type bridge mcast_snooping 0\nroute add default via {SERVER}"))?;
        let _nat = lab.translate(kind, &[standard_rule()])?;
        let _route = multicast_route(&lab.gw)?;
        let neighbour = member(&lab.vm2, VM2)?;
        let gateway = member(&lab.gw, GATEWAY_INSIDE)?;
        let outside = member(&lab.out, SERVER)?;
        let sender = lab.vm1.udp((VM1, 6000))?;
        sender.set_multicast_ttl_v4(8)?;
        for _ in 0..COUNT {
            sender.send_to(b"to all", (GROUP, PORT))?;
            thread::sleep(Duration::from_millis(3));
        }
        // iptables does not translate what multicast routing forwards.
        let source = if kind == Kind::Natbpf { GATEWAY } else { VM1 };
        let counts = [received(&neighbour, VM1), received(&gateway, VM1), received(&outside, source)];
        ensure!(counts == [COUNT; 3], "of {COUNT} datagrams neighbour, gateway and outside got {counts:?}");
        Ok(())
    })
}
