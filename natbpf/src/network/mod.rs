//! The interfaces and IPv4 addresses of the network namespace, by rtnetlink.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use futures::TryStreamExt;
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
    link::{InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp},
};
use nix::net::if_::if_indextoname;
use rtnetlink::sys::{Socket, protocols::NETLINK_ROUTE};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep_until},
};

use crate::watch::socket;

mod device;
mod finishing;
mod requests;
mod routes;
mod xdp;

pub use device::{Device, Features, devices, features};
use finishing::Finishing;
pub use requests::Requests;
pub use routes::Route;
pub use xdp::xdp_program;

/// Between two readings: what comes faster counts as one change, and others get their turn in between.
const GATHER: Duration = Duration::from_millis(2);

/// Between two attempts to open a socket in the place of one that fails.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of a `struct nlmsghdr` and a `struct ifinfomsg` (rtnetlink(7)).
const LINK_MESSAGE: usize = 32;

/// So many messages are read at a time. Who brings them about as fast as they are read does not keep others waiting.
const BATCH: usize = 10_000;

/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_TC` and `RTNLGRP_IPV4_ROUTE` (linux/rtnetlink.h)
const LINKS: u32 = 1;
const ADDRESSES: u32 = 5;
const TRAFFIC_CONTROL: u32 = 4;
const ROUTES: u32 = 7;

/// Chains of filters; not in libc (linux/rtnetlink.h).
const RTM_NEWCHAIN: u16 = 100;
const RTM_DELCHAIN: u16 = 101;

/// `ARPHRD_RAWIP`: modems that speak bare IP (linux/if_arp.h).
const ARPHRD_RAWIP: u16 = 519;

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    pub name: String,
    /// `IFF_UP`: administratively up, whatever the carrier.
    pub up: bool,
    /// `IFF_LOWER_UP`: frames get out.
    pub running: bool,
    /// `ARPHRD_` number of the link layer.
    pub link_layer: u16,
    /// Kind of a virtual interface, such as `veth`.
    pub kind: Option<String>,
    /// MAC address, where the link layer has one of six bytes.
    pub mac: Option<[u8; 6]>,
    /// It is a port of a bridge, a bond or the like, so no address of it is ever used. (Those of a VRF keep theirs.)
    pub port: bool,
    /// Interface index of the bridge, bond or the like that it is a port of.
    pub master: Option<u32>,
    /// Interface index of the one below, such as a VLAN's, if it is in the same network namespace.
    pub lower: Option<u32>,
    /// The one below, or the other end of the pair, is in another network namespace.
    pub abroad: bool,
    /// Packets wait in a queueing discipline before they leave by it (tc(8)); most virtual interfaces have none.
    pub queue: bool,
    /// It takes packets that are to be summed and cut; asked only of those whose other end is elsewhere.
    pub takes_unfinished: bool,
    /// The kernel's number of the XDP program on it.
    pub xdp: Option<u32>,
}

/// An IPv4 address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Address {
    /// Interface index.
    pub interface: u32,
    pub local: Ipv4Addr,
    /// The other end of a point-to-point link, else `local` again; the subnet is that of this address.
    pub peer: Ipv4Addr,
    pub prefix_length: u8,
    /// `RT_SCOPE_` number.
    pub scope: u8,
    /// `IFA_F_SECONDARY`
    pub secondary: bool,
}

/// All interfaces, addresses and routes at about the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By interface index.
    pub links: Vec<Link>,
    /// Those of one interface stand in the kernel's order.
    pub addresses: Vec<Ipv4Address>,
    /// Empty where nobody has asked for them.
    pub routes: Vec<Route>,
    /// What is known of the devices, by interface index.
    pub devices: BTreeMap<u32, Device>,
}

/// Asks the kernel. A task of the current runtime does the talking.
#[derive(Debug)]
pub struct Network {
    requests: Requests,
}

/// What has changed; everything but this the next snapshot shows better.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Indexes of interfaces that were taken away. Others may have them by now.
    pub removed: BTreeSet<u32>,
    /// Interfaces, addresses or queueing disciplines.
    pub interfaces: bool,
    pub routes: bool,
    /// Indexes of interfaces at which filters of traffic control have come or gone, or [`ANYWHERE`].
    pub filters: BTreeSet<u32>,
}

/// Among indexes of interfaces: filters of a block that interfaces share (`TCM_IFINDEX_MAGIC_BLOCK` of linux/rtnetlink.h), any of which
/// may be meant.
pub const ANYWHERE: u32 = u32::MAX;

impl Change {
    /// Nobody knows what.
    pub fn anything() -> Self {
        Self { interfaces: true, routes: true, ..Self::default() }
    }

    /// Messages are lost: anything may have changed, anywhere.
    fn lost() -> Self {
        Self { filters: BTreeSet::from([ANYWHERE]), ..Self::anything() }
    }

    /// Both.
    fn join(&mut self, other: Self) {
        self.removed.extend(other.removed);
        self.filters.extend(other.filters);
        self.interfaces |= other.interfaces;
        self.routes |= other.routes;
    }

    /// Adds what a message tells.
    fn add(&mut self, message: &[u8]) {
        match kind(message) {
            Some(libc::RTM_NEWROUTE | libc::RTM_DELROUTE) => self.routes = true,
            Some(libc::RTM_NEWTFILTER | libc::RTM_DELTFILTER) => self.filters.extend(interface(message)),
            Some(libc::RTM_NEWQDISC | libc::RTM_DELQDISC) => {
                self.interfaces = true;
                // It may have come with filters, of a block that was there before, or gone with them.
                self.filters.extend(interface(message));
            }
            Some(libc::RTM_NEWTCLASS | libc::RTM_DELTCLASS | RTM_NEWCHAIN | RTM_DELCHAIN) => {}
            _ => {
                self.interfaces = true;
                self.removed.extend(removed(message));
            }
        }
    }
}

/// Tells that links, addresses, and if asked for routes have changed.
#[derive(Debug)]
pub struct Changes {
    socket: AsyncFd<Socket>,
    routes: bool,
    /// Not read before.
    due: Instant,
    /// What the operator was told of it.
    complaint: Option<String>,
}

/// The name that an interface has now, in the network namespace of the calling thread; `None`: it is gone.
pub fn name_of(interface: u32) -> Option<String> {
    // Of an index that is nobody's nix makes an empty name: it takes the null pointer for success.
    let name = if_indextoname(interface).ok()?.to_string_lossy().into_owned();
    (!name.is_empty()).then_some(name)
}

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

impl Link {
    /// Length of the link layer header in bytes: 14 with Ethernet, 0 without any; `None` for others, which
    /// natbpf does not know.
    pub const fn link_header(&self) -> Option<u32> {
        match self.link_layer {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Some(14),
            libc::ARPHRD_NONE
            | libc::ARPHRD_PPP
            | ARPHRD_RAWIP
            | libc::ARPHRD_TUNNEL
            | libc::ARPHRD_SIT
            | libc::ARPHRD_IPGRE => Some(0),
            _ => None,
        }
    }
}

impl Ipv4Address {
    /// `RT_SCOPE_UNIVERSE`
    pub const SCOPE_GLOBAL: u8 = 0;
    /// `RT_SCOPE_LINK`
    pub const SCOPE_LINK: u8 = 253;
    /// `RT_SCOPE_HOST`
    pub const SCOPE_HOST: u8 = 254;
}

impl Snapshot {
    /// Name of an interface; its index if it is gone.
    pub fn name(&self, interface: u32) -> String {
        let link = self.links.iter().find(|link| link.index == interface);
        link.map_or_else(|| format!("if{interface}"), |link| link.name.clone())
    }
}

impl Network {
    /// Opens a socket in the network namespace of the calling thread. Needs a Tokio runtime.
    pub fn open() -> Result<Self, NetworkError> {
        Ok(Self { requests: Requests::open().map_err(NetworkError::Open)? })
    }

    /// Lists links and addresses. Two questions to the kernel: what changes in between is told by
    /// [`Changes`], if that was opened before.
    pub async fn snapshot(&self) -> Result<Snapshot, NetworkError> {
        let links = self.requests.ask(|handle| handle.link().get().execute().map_ok(link));
        let mut links = links.await.map_err(NetworkError::Dump)?;
        links.sort_by_key(|link| link.index);
        let finishing = Finishing::open().map_err(NetworkError::Open)?;
        for link in links.iter_mut().filter(|link| link.abroad) {
            link.takes_unfinished = finishing.takes_unfinished(&link.name);
        }
        let addresses = self.requests.ask(|handle| {
            let mut request = handle.address().get();
            request.message_mut().header.family = AddressFamily::Inet;
            request.execute()
        });
        let addresses = addresses.await.map_err(NetworkError::Dump)?.iter().filter_map(address).collect();
        Ok(Snapshot { links, addresses, routes: Vec::new(), devices: BTreeMap::new() })
    }

    /// Starts to listen for changes, in the network namespace of the calling thread.
    pub fn changes(&self) -> Result<Changes, NetworkError> {
        Changes::open().map_err(NetworkError::Watch)
    }
}

impl Changes {
    fn open() -> io::Result<Self> {
        Ok(Self { socket: listen(false)?, routes: false, due: Instant::now(), complaint: None })
    }

    /// Whether to tell of routes, too.
    pub fn follow_routes(&mut self, follow: bool) {
        if follow == self.routes {
            return;
        }
        let socket = self.socket.get_ref();
        let changed = match follow {
            true => socket.add_membership(ROUTES),
            false => socket.drop_membership(ROUTES),
        };
        match changed {
            Ok(()) => self.routes = follow,
            Err(error) => self.complain(&error),
        }
    }

    /// Waits until something has changed since the last call; many changes at once count as one. Losing
    /// messages counts as a change, and a socket that fails again and again is opened anew. Cancel safe.
    pub async fn next(&mut self) -> Change {
        loop {
            sleep_until(self.due).await;
            let read = match self.socket.readable().await {
                // It is ready until reading says that it is empty.
                Ok(ready) => {
                    drop(ready);
                    read(&self.socket)
                }
                Err(error) => Err(error),
            };
            self.due = Instant::now() + GATHER;
            match read {
                Ok(Some(change)) => return change,
                Ok(None) => {}
                Err(error) => {
                    self.complain(&error);
                    match listen(self.routes) {
                        Ok(socket) => {
                            self.socket = socket;
                            self.complaint = None;
                        }
                        Err(error) => self.complain(&error),
                    }
                    self.due = Instant::now() + PATIENCE;
                    return Change::lost();
                }
            }
        }
    }

    /// Once for the same.
    fn complain(&mut self, error: &io::Error) {
        let complaint = error.to_string();
        if self.complaint.as_ref() != Some(&complaint) {
            tracing::error!(
                "{}; until it succeeds, changes are seen late",
                NetworkError::Watch(io::Error::other(complaint.clone()))
            );
            self.complaint = Some(complaint);
        }
    }
}

fn listen(routes: bool) -> io::Result<AsyncFd<Socket>> {
    let mut groups = vec![LINKS, ADDRESSES, TRAFFIC_CONTROL];
    groups.extend(routes.then_some(ROUTES));
    socket::register(socket::open(NETLINK_ROUTE, &groups)?)
}

/// Empties the socket, as long as that is no endless task. `None`: there was nothing in it.
fn read(socket: &AsyncFd<Socket>) -> io::Result<Option<Change>> {
    // A message that is longer is cut off and still taken whole from the queue.
    gather(|message| socket.try_io(Interest::READABLE, |socket| socket.recv(message, 0)).map(|_| ()))
}

/// All that is received until there is nothing more, or a batch of it. An error of the socket is told once, and says that messages are lost; when its queue
/// was full it is `ENOBUFS` (netlink(7)), and there are others. A second one in a row is the socket's end.
fn gather(mut receive: impl FnMut(&mut Vec<u8>) -> io::Result<()>) -> io::Result<Option<Change>> {
    let mut change: Option<Change> = None;
    let mut failed = false;
    for _ in 0..BATCH {
        let mut start = Vec::with_capacity(LINK_MESSAGE);
        match receive(&mut start) {
            Ok(()) => {
                change.get_or_insert_default().add(&start);
                failed = false;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(change),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if failed && error.raw_os_error() != Some(libc::ENOBUFS) => return Err(error),
            Err(_) => {
                change.get_or_insert_default().join(Change::lost());
                failed = true;
            }
        }
    }
    Ok(change)
}

fn kind(message: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(*message.get(4..)?.first_chunk()?))
}

/// That of a `struct ifinfomsg` and of a `struct tcmsg`.
fn interface(message: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*message.get(20..)?.first_chunk()?))
}

/// The interface that a message says is gone.
fn removed(message: &[u8]) -> Option<u32> {
    let gone = kind(message)? == libc::RTM_DELLINK;
    // A bridge says so, too, of a port that only leaves it: in a family of its own.
    let whole = libc::c_int::from(*message.get(16)?) == libc::AF_UNSPEC;
    interface(message).filter(|_| gone && whole)
}

fn link(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        up: message.header.flags.contains(LinkFlags::Up),
        running: message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        link_layer: message.header.link_layer_type.into(),
        kind: None,
        mac: None,
        port: false,
        master: None,
        lower: None,
        abroad: false,
        queue: false,
        takes_unfinished: false,
        xdp: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(address) => link.mac = address.try_into().ok(),
            // The latter is that of an interface that is down.
            LinkAttribute::Qdisc(name) => link.queue = !matches!(&*name, "noqueue" | "noop"),
            LinkAttribute::Xdp(attributes) => {
                link.xdp = attributes.iter().find_map(|attribute| match attribute {
                    LinkXdp::ProgId(program) => Some(*program),
                    _ => None,
                });
            }
            LinkAttribute::Controller(master) => link.master = Some(master),
            LinkAttribute::Link(lower) => link.lower = Some(lower),
            LinkAttribute::LinkNetNsId(_) => link.abroad = true,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
                        LinkInfo::PortKind(kind) => link.port = kind != InfoPortKind::Vrf,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    // Numbers of another namespace mean something else here.
    link.lower = link.lower.filter(|_| !link.abroad);
    link
}

fn address(message: &AddressMessage) -> Option<Ipv4Address> {
    let (mut local, mut peer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => local = Some(*address),
            AddressAttribute::Address(IpAddr::V4(address)) => peer = Some(*address),
            _ => {}
        }
    }
    let local = local.or(peer)?;
    Some(Ipv4Address {
        interface: message.header.index,
        local,
        peer: peer.unwrap_or(local),
        prefix_length: message.header.prefix_len,
        scope: message.header.scope.into(),
        secondary: message.header.flags.contains(AddressHeaderFlags::Secondary),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_loopback_is_there() {
        let network = Network::open().unwrap();
        let changes = network.changes().unwrap();
        let snapshot = network.snapshot().await.unwrap();
        let loopback = &snapshot.links[0];
        assert_eq!((loopback.index, &*loopback.name, loopback.link_header()), (1, "lo", Some(14)));
        assert_eq!(snapshot.name(1), "lo");
        assert_eq!(snapshot.name(u32::MAX), "if4294967295");
        assert_eq!((name_of(1).as_deref(), name_of(u32::MAX)), (Some("lo"), None));
        assert_eq!(read(&changes.socket).unwrap(), None);
    }

    #[test]
    fn an_error_of_the_socket_is_a_change_and_only_two_in_a_row_its_end() {
        let gathered = |errors: &[i32]| {
            let mut errors = errors.iter();
            gather(|_| match errors.next() {
                Some(0) => Ok(()),
                Some(code) => Err(io::Error::from_raw_os_error(*code)),
                None => Err(io::ErrorKind::WouldBlock.into()),
            })
        };
        assert_eq!(gathered(&[]).unwrap(), None);
        for errors in [&[libc::ENOBUFS][..], &[libc::EMSGSIZE], &[libc::EMSGSIZE, 0, libc::EMSGSIZE]] {
            assert_eq!(gathered(errors).unwrap(), Some(Change::lost()), "{errors:?}");
        }
        assert_eq!(gathered(&[libc::ENOBUFS, libc::EINTR, libc::ENOBUFS]).unwrap(), Some(Change::lost()));
        assert!(gathered(&[libc::EMSGSIZE, libc::EMSGSIZE]).is_err());
    }

    /// Length 32, type, flags, sequence, sender; family, device type, index 7, flags, change.
    #[test]
    fn only_an_interface_that_is_gone_is_removed() {
        let message = |kind: u16, family: u8| {
            let mut message = vec![32, 0, 0, 0];
            message.extend(kind.to_ne_bytes());
            message.extend([0; 10]);
            message.extend([family, 0, 1, 0]);
            message.extend(7u32.to_ne_bytes());
            message.extend([0; 8]);
            removed(&message)
        };
        assert_eq!(message(libc::RTM_DELLINK, libc::AF_UNSPEC as u8), Some(7));
        assert_eq!(message(libc::RTM_DELLINK, libc::AF_BRIDGE as u8), None);
        assert_eq!(message(libc::RTM_NEWLINK, libc::AF_UNSPEC as u8), None);
        assert_eq!(removed(&[0; 31]), None);
    }

    #[test]
    fn a_message_says_what_has_changed() {
        let change = |kind: u16| {
            let mut change = Change::default();
            change.add(
                &[&[32, 0, 0, 0][..], &kind.to_ne_bytes(), &[0; 14], &7u32.to_ne_bytes(), &[0; 8]].concat(),
            );
            change
        };
        let filters = Change { filters: BTreeSet::from([7]), ..Change::default() };
        assert_eq!(change(libc::RTM_NEWTFILTER), filters);
        assert_eq!(change(libc::RTM_DELTFILTER), filters);
        assert_eq!(change(libc::RTM_NEWTCLASS), Change::default());
        assert_eq!(change(libc::RTM_DELROUTE), Change { routes: true, ..Change::default() });
        let interfaces = Change { interfaces: true, ..Change::default() };
        for kind in [libc::RTM_NEWQDISC, libc::RTM_DELQDISC] {
            assert_eq!(change(kind), Change { filters: BTreeSet::from([7]), ..interfaces.clone() });
        }
        for kind in [libc::RTM_NEWLINK, libc::RTM_DELADDR] {
            assert_eq!(change(kind), interfaces);
        }
        assert_eq!(change(libc::RTM_DELLINK), Change { removed: BTreeSet::from([7]), ..interfaces });
    }
}
