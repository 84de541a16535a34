//! Telling neighbours of addresses that the datapath answers for: gratuitous ARP, as a request and as a
//! reply, since some learn from the one and some from the other (RFC 5227, section 3; arping -U and -A).

use std::{
    collections::BTreeSet,
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd as _, OwnedFd},
};

use natbpf_common::{IfIndex, wire::arp::Arp};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike as _, sendto, socket,
};
use zerocopy::IntoBytes as _;

/// How often it is said, once a second: a frame may be lost, and a switch may not forward yet.
const TIMES: u8 = 3;

const BROADCAST: [u8; 6] = [0xff; 6];

/// An address at an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Announced {
    /// Interface index.
    pub interface: IfIndex,
    pub mac: [u8; 6],
    pub address: Ipv4Addr,
}

/// Announces every address when it appears, and when the link of its interface comes back.
#[derive(Debug, Default)]
pub struct Announcer {
    known: BTreeSet<Announced>,
    /// How many times each has to be said still.
    pending: Vec<(Announced, u8)>,
}

impl Announcer {
    /// The addresses that can be announced now.
    pub fn update(&mut self, now: impl IntoIterator<Item = Announced>) {
        let now: BTreeSet<Announced> = now.into_iter().collect();
        self.pending.retain(|(announced, _)| now.contains(announced));
        self.pending.extend(now.difference(&self.known).map(|new| (*new, TIMES)));
        self.known = now;
    }

    /// Says what is to be said; to be called once a second.
    pub fn tick(&mut self) {
        let due = self.due();
        if due.is_empty() {
            return;
        }
        // One that cannot be said keeps no other from being said.
        let sent = open().and_then(|socket| {
            due.iter().map(|announced| send(&socket, *announced)).fold(Ok(()), Result::and)
        });
        if let Err(error) = sent {
            tracing::warn!(
                "cannot announce floating addresses and pools by ARP: {error}; \
                 neighbours that know another host by one of them learn of the change late"
            );
        }
    }

    fn due(&mut self) -> Vec<Announced> {
        let due = self.pending.iter().map(|(announced, _)| *announced).collect();
        for (_, left) in &mut self.pending {
            *left -= 1;
        }
        self.pending.retain(|(_, left)| *left > 0);
        due
    }
}

fn open() -> io::Result<OwnedFd> {
    // No protocol: nothing is to be received.
    Ok(socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?)
}

fn send(socket: &OwnedFd, announced: Announced) -> io::Result<()> {
    // SAFETY: integers and bytes.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_ifindex = announced.interface.number().cast_signed();
    to.sll_halen = BROADCAST.len() as u8;
    to.sll_addr[..BROADCAST.len()].copy_from_slice(&BROADCAST);
    // SAFETY: the address is one of AF_PACKET, and as long as said.
    let to = unsafe { LinkAddr::from_raw((&raw const to).cast(), Some(size_of_val(&to) as libc::socklen_t)) };
    let to = to.ok_or(io::ErrorKind::InvalidInput)?;
    for frame in frames(announced) {
        sendto(socket.as_raw_fd(), &frame, &to, MsgFlags::empty())?;
    }
    Ok(())
}

fn frames(announced: Announced) -> [Vec<u8>; 2] {
    let address = announced.address.octets();
    let request = Arp::request(announced.mac, address, address);
    [request, request.answer(announced.mac)].map(|arp| {
        let ether_type = (libc::ETH_P_ARP as u16).to_be_bytes();
        [&BROADCAST[..], &announced.mac, &ether_type, arp.as_bytes()].concat()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(last: u8) -> Announced {
        let address = Ipv4Addr::new(203, 0, 113, last);
        Announced { interface: IfIndex::new(3), mac: [2, 0, 0, 0, 0, 3], address }
    }

    #[test]
    fn an_address_is_said_a_few_times_when_it_appears() {
        let mut announcer = Announcer::default();
        announcer.update([announced(50)]);
        assert_eq!(announcer.due(), [announced(50)]);
        announcer.update([announced(50), announced(51)]);
        assert_eq!(announcer.due(), [announced(50), announced(51)]);
        assert_eq!(announcer.due(), [announced(50), announced(51)]);
        assert_eq!(announcer.due(), [announced(51)]);
        announcer.update([announced(50), announced(51)]);
        assert_eq!(announcer.due(), []);
    }

    #[test]
    fn what_is_gone_is_not_said_and_what_comes_back_is() {
        let mut announcer = Announcer::default();
        announcer.update([announced(50)]);
        announcer.update([]);
        assert_eq!(announcer.due(), []);
        announcer.update([announced(50)]);
        assert_eq!(announcer.due(), [announced(50)]);
        let moved = Announced { mac: [4; 6], ..announced(50) };
        announcer.update([moved]);
        assert_eq!(announcer.due(), [moved]);
    }

    #[test]
    fn a_request_and_a_reply_to_everybody() {
        let [request, reply] = frames(announced(50));
        let mac = [2, 0, 0, 0, 0, 3];
        let start = [&[0xff; 6][..], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0]].concat();
        let sender = [&mac[..], &[203, 0, 113, 50]].concat();
        assert_eq!(request, [&start[..], &[1], &sender, &[0; 6], &[203, 0, 113, 50]].concat());
        assert_eq!(reply, [&start[..], &[2], &sender, &sender].concat());
    }
}
