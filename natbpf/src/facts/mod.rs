//! What a host has, network namespace by network namespace, at about one moment: for those who look for the cause of a
//! trouble. Nothing is changed and nothing is sent.
//!
//! | | |
//! |---|---|
//! | `place` | all of one network namespace |
//! | `device`, `route`, `neighbour`, `queue` | what the kernel tells by rtnetlink, as plain values |
//! | `lookup` | which route a packet takes |
//! | `settings` | sysctls and counters below `/proc` |
//! | `firewall` | rules, as the commands of iptables and nftables print them |
//! | `listener` | UDP ports that programs wait at |
//! | `daemon` | processes that serve instances: DHCP, DNS, platforms |
//!
//! What could not be looked at is kept in [`Host::unseen`], in words: it is said, not guessed.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::File,
    io,
};

use anyhow::{Context as _, Result};

use crate::{
    netns::{CURRENT, cookie, inside},
    network::{Handle, namespaces_with_a_way_in},
};

mod daemon;
mod device;
mod firewall;
mod listener;
mod lookup;
mod neighbour;
mod place;
mod queue;
mod route;
mod settings;

pub use daemon::Daemon;
pub use device::{Bridge, Device, Port, PortState, Vlan};
pub use firewall::{
    Firewall, Forward, Hook, Miss, Packet, Set, Source, Translation, Verdict, Wanted, packet,
};
pub use lookup::{Lookup, Query};
pub use neighbour::{Neighbour, NeighbourState, Station};
pub use place::Place;
pub use queue::Queue;
pub use route::{Address, Hop, Route, Rule};
pub use settings::Settings;

/// More namespaces are not looked at.
const LIMIT: usize = 256;

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct Host {
    /// The namespace that was asked for, and then those that its devices lead to, near ones first.
    pub places: Vec<Place>,
    pub daemons: Vec<Daemon>,
    /// What could not be looked at, and why.
    pub unseen: Vec<String>,
}

/// A namespace that there is a way into.
struct Way {
    handle: Handle,
    cookie: u64,
}

impl Host {
    /// Looks from the network namespace of the calling thread, which the operator knows as `name`.
    pub fn look(name: Option<&str>) -> Result<Self> {
        let here = File::open(CURRENT).context("cannot open this network namespace")?;
        let ways: Vec<Way> = namespaces_with_a_way_in().into_iter().filter_map(Way::new).collect();
        let mut host = Self::default();
        let home = host.look_in(&here, None, &ways)?;
        host.places.push(Place { command: name.map(|name| format!("ip netns exec {name}")), ..home });
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
            let seen = way.handle.open().map_err(anyhow::Error::from);
            match seen.and_then(|file| host.look_in(&file, Some(&way.handle), &ways)) {
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
        host.daemons = daemon::look();
        let mut once = BTreeSet::new();
        host.unseen.retain(|what| once.insert(what.clone()));
        Ok(host)
    }

    /// Everything of one namespace, by a thread that goes there.
    fn look_in(&mut self, file: &File, handle: Option<&Handle>, ways: &[Way]) -> Result<Place> {
        let (place, unseen) = inside(file, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let ways = ways.iter().map(|way| (&way.handle, way.cookie));
            runtime.block_on(Place::look(handle, ways)).map_err(io::Error::other)
        })?;
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
    /// `None`: it has gone meanwhile, or may not be entered.
    fn new(handle: Handle) -> Option<Self> {
        let there = handle.open().ok()?;
        let cookie = inside(&there, || cookie().map_err(io::Error::other)).ok()?;
        Some(Self { handle, cookie })
    }
}
