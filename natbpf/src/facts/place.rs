//! All of one network namespace.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::MetadataExt as _,
};

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use ipnet::IpNet;
use netlink_packet_route::{AddressFamily, link::LinkExtentMask};
use rtnetlink::{IpVersion, RouteMessageBuilder};

use super::{
    Address, Device, Firewall, Flow, Neighbour, Offloads, Queue, Route, Rule, Settings, Socket, Station,
    device::{device, vlans},
    firewall, flow,
    neighbour::{neighbour, station},
    offloads, queue,
    route::{address, local, route, rule},
    shell, sockets,
};
use crate::{
    netlink::Requests,
    netns::{CURRENT, cookie},
    network::{Handle, Number, number_of},
};

/// A network namespace with all that is in it.
#[derive(Debug, Default)]
pub struct Place {
    /// Empty: the one that was asked for.
    pub name: String,
    /// What runs a command there.
    pub command: Option<String>,
    /// The kernel's number of it, which no other namespace ever has.
    pub cookie: u64,
    /// Number of the file that it is, by which processes are told to be in it.
    pub inode: u64,
    /// The cookies of those that this one has numbers for.
    pub numbers: BTreeMap<Number, u64>,
    /// In the order of their indexes.
    pub devices: Vec<Device>,
    pub addresses: Vec<Address>,
    pub routes: Vec<Route>,
    pub rules: Vec<Rule>,
    /// Addresses that it takes for its own, also those that no device has.
    pub locals: Vec<IpNet>,
    /// Addresses of others that it answers ARP for.
    pub proxied: Vec<Neighbour>,
    pub neighbours: Vec<Neighbour>,
    pub stations: Vec<Station>,
    pub queues: Vec<Queue>,
    pub offloads: Vec<Offloads>,
    /// UDP sockets; `None`: they could not be looked at.
    pub sockets: Option<Vec<Socket>>,
    /// Indexes of devices that a program takes packets of IPv4 from, before the kernel does anything with them.
    pub tapped: Vec<u32>,
    pub settings: Settings,
    pub firewall: Firewall,
    /// Translated flows of TCP and UDP; none where there are too few to use up the ports of any rule.
    pub flows: Vec<Flow>,
}

impl Place {
    /// Everything of the namespace of the calling thread, and what could not be looked at.
    pub async fn look<'a>(
        handle: Option<&Handle>,
        ways: impl Iterator<Item = (&'a Handle, u64)>,
    ) -> Result<(Self, Vec<String>)> {
        let requests = Requests::open().context("cannot ask the kernel for devices")?;
        let number = |(handle, cookie): (&Handle, u64)| {
            let file: File = handle.open().ok()?;
            Some((number_of(&file).ok()??, cookie))
        };
        let mut place = Self {
            name: handle.map(Handle::to_string).unwrap_or_default(),
            command: handle.map(Handle::command),
            cookie: cookie()?,
            inode: fs::metadata(CURRENT).map_or(0, |file| file.ino()),
            sockets: sockets::look(),
            tapped: sockets::packet(),
            numbers: ways.filter_map(number).collect(),
            settings: Settings::look(),
            ..Self::default()
        };
        place.ask(&requests).await.context("cannot ask the kernel for devices, addresses and routes")?;
        place.queues = queue::look().context("cannot ask the kernel for queueing disciplines")?;
        place.offloads = offloads::look(&place.devices);
        let mut unseen;
        (place.firewall, unseen) = firewall::look(&place.within());
        let tracked = place.settings.number("netfilter/nf_conntrack_count").unwrap_or_default();
        let fewest = place.firewall.fewest_ports();
        if fewest.is_some_and(|ports| ports as u64 * Flow::MANY / 100 <= tracked) {
            match flow::look() {
                Ok(flows) => place.flows = flows,
                Err(error) => unseen.push(format!("flows of conntrack{}: {error}", place.within())),
            }
        }
        Ok((place, unseen))
    }

    async fn ask(&mut self, requests: &Requests) -> Result<(), rtnetlink::Error> {
        let links = requests.ask(|handle| handle.link().get().execute().map_ok(device));
        self.devices = links.await?;
        self.devices.sort_by_key(|device| device.index);
        let of_bridges = requests.ask(|handle| {
            let mut request = handle
                .link()
                .get()
                .set_filter_mask(AddressFamily::Bridge, vec![LinkExtentMask::BrvlanCompressed]);
            request.message_mut().header.interface_family = AddressFamily::Bridge;
            request.execute()
        });
        for message in of_bridges.await? {
            let (index, vlans) = vlans(&message);
            let Some(device) = self.devices.iter_mut().find(|device| device.index == index) else { continue };
            if let Some(bridge) = &mut device.bridge {
                bridge.vlans = vlans;
            } else if let Some(port) = &mut device.port {
                port.vlans = vlans;
            }
        }
        let addresses = requests.ask(|handle| handle.address().get().execute());
        self.addresses = addresses.await?.iter().filter_map(address).collect();
        let v4 = requests
            .ask(|handle| handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute());
        let v6 = requests.ask(|handle| {
            handle.route().get(RouteMessageBuilder::<std::net::Ipv6Addr>::new().build()).execute()
        });
        let (v4, v6) = (v4.await?, v6.await?);
        self.routes = v4.iter().chain(&v6).filter_map(route).collect();
        self.locals = v4.iter().filter_map(local).collect();
        for version in [IpVersion::V4, IpVersion::V6] {
            let rules = requests.ask(|handle| handle.rule().get(version.clone()).execute());
            self.rules.extend(rules.await?.iter().map(rule));
        }
        let neighbours = requests.ask(|handle| handle.neighbours().get().execute());
        self.neighbours = neighbours.await?.iter().filter_map(neighbour).collect();
        let proxied = requests.ask(|handle| handle.neighbours().get().proxies().execute());
        self.proxied = proxied.await?.iter().filter_map(neighbour).collect();
        let stations = requests
            .ask(|handle| handle.neighbours().get().set_address_family(AddressFamily::Bridge).execute());
        self.stations = stations.await?.iter().filter_map(station).collect();
        Ok(())
    }

    /// ` in NAME`, for a sentence; nothing for the namespace that was asked for.
    pub fn within(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) }
    }

    /// `the instance NAME`; of the namespace that was asked for, `the instance`.
    pub fn called(&self, what: &str) -> String {
        if self.name.is_empty() { what.to_owned() } else { format!("{what} {}", self.name) }
    }

    /// A command as it is typed where natbpf was asked. Its words are apart by spaces.
    pub fn typed(&self, command: &str) -> String {
        self.with_prefix(&shell::typed(command))
    }

    /// The same of several that belong together.
    pub fn typed_all(&self, commands: &[String]) -> String {
        self.with_prefix(&shell::all_of(commands))
    }

    /// What is a command of a shell already.
    pub fn with_prefix(&self, typed: &str) -> String {
        match &self.command {
            Some(within) => format!("{} {typed}", shell::typed(within)),
            None => typed.to_owned(),
        }
    }

    pub fn device(&self, index: u32) -> Option<&Device> {
        let at = self.devices.binary_search_by_key(&index, |device| device.index).ok()?;
        self.devices.get(at)
    }

    pub fn named(&self, name: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.name == name)
    }

    pub fn ports<'a>(&'a self, bridge: &'a Device) -> impl Iterator<Item = &'a Device> {
        self.devices.iter().filter(|device| device.master == Some(bridge.index))
    }

    pub fn addresses_of<'a>(&'a self, device: &'a Device) -> impl Iterator<Item = &'a Address> {
        self.addresses.iter().filter(|address| address.device == device.index)
    }

    /// Whether an address is its own.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.net.addr() == address)
    }

    /// The device that has an address.
    pub fn owner(&self, address: Ipv4Addr) -> Option<&Device> {
        let own = self.addresses.iter().find(|own| own.net.addr() == IpAddr::V4(address))?;
        self.device(own.device)
    }

    /// Default routes for IPv4, in whatever table, those that the kernel prefers first.
    pub fn defaults(&self) -> Vec<&Route> {
        let of_v4 =
            |route: &&Route| route.is_default() && route.destination.addr().is_ipv4() && !route.refuses;
        let mut routes: Vec<_> = self.routes.iter().filter(of_v4).collect();
        routes.sort_by_key(|route| (!route.is_main(), route.metric));
        routes
    }

    /// The routes to an address in the main table, the one that the kernel takes first.
    pub fn route_to(&self, address: IpAddr) -> Option<&Route> {
        let routes =
            self.routes.iter().filter(|route| route.is_main() && route.destination.contains(&address));
        routes.max_by_key(|route| (route.destination.prefix_len(), std::cmp::Reverse(route.metric)))
    }

    /// Whether it passes packets of others on.
    pub fn forwards(&self) -> bool {
        self.settings.number("ipv4/ip_forward") == Some(1)
    }

    /// The same for packets of the family of an address.
    pub fn forwards_for(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.forwards(),
            IpAddr::V6(_) => self.settings.number("ipv6/conf/all/forwarding") == Some(1),
        }
    }
}
