//! What a host has, network namespace by network namespace, at about one moment: for those who look for the cause of a
//! trouble. Nothing is changed and nothing is sent.
//!
//! | | |
//! |---|---|
//! | `place` | all of one network namespace |
//! | `device`, `route`, `neighbour`, `queue` | what the kernel tells by rtnetlink, as plain values |
//! | `lookup` | which route a packet takes |
//! | `settings` | sysctls and counters below `/proc` |
//! | `accept` | rules that accept what another one drops |
//! | `firewall`, `source`, `tables`, `flowtable` | rules, as the commands of iptables and nftables print them |
//! | `mark` | marks that rules set |
//! | `flow` | flows of conntrack that are translated |
//! | `daemon`, `dnsmasq` | processes that serve instances: DHCP, DNS, platforms; what one of them was told |
//! | `plain` | files of processes that may mean no good |
//! | `sockets`, `resolver` | where services and clients wait, and which name servers programs ask |
//! | `offloads` | what devices leave to those after them |
//! | `shell` | commands as they are typed |
//! | `kernel` | what is one for the whole host |
//! | `natbpf` | natbpf's own instances |
//!
//! What could not be looked at is kept in [`Host::unseen`], in words: it is said, not guessed.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::{self, File},
    io, panic,
    path::Path,
    thread,
};

use anyhow::{Result, bail};

use crate::{
    netns::{CURRENT, cookie, inside},
    network::{Handle, namespaces_with_a_way_in},
};

mod accept;
mod daemon;
mod device;
mod dnsmasq;
mod firewall;
mod flow;
mod flowtable;
mod kernel;
mod lookup;
mod mark;
mod natbpf;
mod neighbour;
mod offloads;
mod place;
mod plain;
mod queue;
mod resolver;
mod route;
mod settings;
mod shell;
mod sockets;
mod source;
mod tables;

pub use accept::For;
pub use daemon::Daemon;
pub use device::{Bridge, Device, Port, PortState, Vlan};
pub use dnsmasq::{Dnsmasq, Range};
pub use firewall::{
    Firewall, Forward, Hook, Miss, Packet, Set, SourceNat, Translation, Verdict, Wanted, Zone,
};
pub use flow::Flow;
pub use flowtable::Flowtable;
pub use kernel::Kernel;
pub use lookup::{Lookup, Query};
pub use natbpf::Natbpf;
pub use neighbour::{Neighbour, NeighbourState, Station};
pub use offloads::Offloads;
pub use place::Place;
pub use queue::Queue;
pub use resolver::Resolver;
pub use route::{Address, Hop, Mark, Route, Rule};
pub use settings::Settings;
pub use sockets::Socket;
pub use source::Source;

/// The host's own network namespace, where its first process is.
const FIRST: &str = "/proc/1/ns/net";

/// More namespaces are not looked at.
const LIMIT: usize = 256;

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct Host {
    /// The namespace that was asked for, and then those that its devices lead to, near ones first.
    pub places: Vec<Place>,
    pub daemons: Vec<Daemon>,
    pub resolvers: Vec<Resolver>,
    pub natbpf: Vec<Natbpf>,
    pub kernel: Kernel,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

/// A namespace that there is a way into.
struct Way {
    handle: Handle,
    cookie: u64,
}

impl Host {
    /// Looks from the network namespace of the calling thread, which the operator knows as `name`. natbpf's instances
    /// are looked for below `bpffs`.
    pub fn look(name: Option<&str>, bpffs: &Path) -> Result<Self> {
        if !fs::exists(CURRENT).unwrap_or_default() {
            bail!("{CURRENT} is not there; mount it with: mount -t proc proc /proc");
        }
        let mut host = Self::default();
        let ways = host.ways();
        let home = host.look_in(None, &ways)?;
        // ip-netns(8) knows names, and no paths.
        let command = |name: &str| match name.contains('/') {
            true => format!("nsenter --net={name}"),
            false => format!("ip netns exec {name}"),
        };
        host.places.push(Place { command: name.map(command), ..home });
        // An internal port of Open vSwitch does not say where the others are: what has a name may be behind one.
        let mut next: VecDeque<u64> = host.places[0].numbers.values().copied().collect();
        next.extend(ways.iter().filter(|way| way.handle.is_named()).map(|way| way.cookie));
        let mut left = 0;
        while let Some(cookie) = next.pop_front() {
            if host.at(cookie).is_some() {
                continue;
            }
            let Some(way) = ways.iter().find(|way| way.cookie == cookie) else { continue };
            if host.places.len() >= LIMIT {
                left += 1;
                continue;
            }
            match host.look_in(Some(&way.handle), &ways) {
                Ok(place) => {
                    next.extend(place.numbers.values());
                    host.places.push(place);
                }
                Err(error) => host.unseen.push(format!("the network namespace {}: {error:#}", way.handle)),
            }
        }
        if left > 0 {
            host.unseen.push(format!("{left} network namespaces: {LIMIT} others were looked at"));
        }
        let left;
        (host.daemons, left) = daemon::look();
        host.unseen.extend(left);
        host.resolvers = resolver::look();
        let namespaces = ways.iter().filter_map(|way| way.handle.open().ok());
        host.kernel = Kernel::look(File::open(FIRST).into_iter().chain(namespaces));
        let unseen;
        (host.natbpf, unseen) = natbpf::look(bpffs);
        host.unseen.extend(unseen);
        let mut once = BTreeSet::new();
        host.unseen.retain(|what| once.insert(what.clone()));
        Ok(host)
    }

    /// The namespaces that may be entered. To be kept out of one is no fault of the host's.
    fn ways(&mut self) -> Vec<Way> {
        let (ways, kept_out): (Vec<_>, Vec<_>) =
            namespaces_with_a_way_in().into_iter().map(Way::new).partition(Result::is_ok);
        let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        let denied = kept_out.into_iter().filter_map(Result::err).filter(is_denied).count();
        let privileged = nix::unistd::geteuid().is_root() && denied == 0;
        if !privileged {
            self.unseen
                .push("other network namespaces, and the processes there: run natbpf as root".to_owned());
        }
        ways.into_iter().filter_map(Result::ok).collect()
    }

    /// Everything of one namespace, by a thread that goes there if it is another one.
    fn look_in(&mut self, handle: Option<&Handle>, ways: &[Way]) -> Result<Place> {
        let look = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let ways = ways.iter().map(|way| (&way.handle, way.cookie));
            runtime.block_on(Place::look(handle, ways)).map_err(io::Error::other)
        };
        let (place, unseen) = match handle {
            Some(handle) => inside(&handle.open()?, look)?,
            None => thread::scope(|scope| {
                scope.spawn(look).join().unwrap_or_else(|cause| panic::resume_unwind(cause))
            })?,
        };
        self.unseen.extend(unseen);
        Ok(place)
    }

    /// The namespace that was asked for.
    pub fn home(&self) -> &Place {
        &self.places[0]
    }

    /// The namespace with this cookie.
    pub fn at(&self, cookie: u64) -> Option<&Place> {
        self.places.iter().find(|place| place.cookie == cookie)
    }

    /// The other end of a veth pair, or the device that one lies on, wherever it is.
    pub fn peer<'a>(&'a self, place: &'a Place, device: &Device) -> Option<(&'a Place, &'a Device)> {
        let there = match device.leads_to {
            None => place,
            // Each namespace has numbers of its own for the others.
            Some(number) => self.at(*place.numbers.get(&number)?)?,
        };
        Some((there, there.device(device.peer?)?))
    }
}

impl Way {
    fn new(handle: Handle) -> io::Result<Self> {
        let there = handle.open()?;
        let cookie = inside(&there, || cookie().map_err(io::Error::other))?;
        Ok(Self { handle, cookie })
    }
}
