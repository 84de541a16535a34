//! Whose packet: the device of the host that an instance is behind, the instance, and whom it asks to pass packets on.

use std::{fs::File, io, net::IpAddr, process::Command};

use super::networks::routers;
use crate::{
    doctor::Site,
    facts::{Device, Host, Place},
    netns::{cookie, inside},
};

/// An instance, and the way to it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The host's end of its TAP or its pair.
    pub edge: &'a Device,
    /// The instance's own end, where its network namespace is seen.
    pub instance: Option<(&'a Place, &'a Device)>,
    pub address: IpAddr,
    pub mac: [u8; 6],
}

/// Whom an instance asks for the way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// A gateway, or the destination itself.
    Ask(IpAddr),
    /// The instance has no route.
    None,
    /// Its routes are not seen, and no router with an address in its network is.
    Unknown,
}

/// Why it is not known.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SubjectError {
    #[error("no instance is seen on this host; name its device or its address with --from")]
    None,
    #[error("there are several instances: {0}; name one of them with --from")]
    Several(String),
    #[error("nothing here is called {0}: no device, no address of an instance, no container or guest")]
    Unknown(String),
    #[error(
        "{0} is on this host, but behind no TAP or veth of this network namespace; --netns names another one"
    )]
    Elsewhere(String),
    #[error("{0} has no address of {1} that reaches further than its link")]
    NoAddress(String, &'static str),
    #[error("{0} and {1} are not of one family")]
    Families(IpAddr, IpAddr),
    #[error(
        "nothing was ever heard of an instance at {0}: no station in a bridge's table and no neighbour; it has not \
         sent a packet yet, or its address is not known"
    )]
    Silent(String),
}

impl<'a> Subject<'a> {
    /// Who would send to `destination`. `from`: a device, an address, or the name of a network namespace, a container
    /// or a guest.
    pub fn find(
        host: &'a Host,
        site: &Site<'a>,
        from: Option<&str>,
        destination: IpAddr,
    ) -> Result<Self, SubjectError> {
        let is_v6 = destination.is_ipv6();
        let wanted = Wanted::Towards(destination);
        let Some(from) = from else { return only(host, site, wanted) };
        if let Some(edge) = host.home().named(from) {
            return behind(host, edge, wanted);
        }
        if let Ok(address) = from.parse::<IpAddr>() {
            if address.is_ipv6() != is_v6 {
                return Err(SubjectError::Families(address, destination));
            }
            return by_address(host, address);
        }
        let elsewhere = || SubjectError::Elsewhere(from.to_owned());
        if let Some(place) = host.places.iter().find(|place| place.name == from) {
            return of_place(host, place, wanted)?.ok_or_else(elsewhere);
        }
        if let Some(place) = container(from).and_then(|cookie| host.at(cookie)) {
            return of_place(host, place, wanted)?.ok_or_else(elsewhere);
        }
        match guest(from) {
            Some(device) => behind(host, host.home().named(&device).ok_or_else(elsewhere)?, wanted),
            None => Err(SubjectError::Unknown(from.to_owned())),
        }
    }

    /// Whom it asks for the way to `destination`.
    pub fn next_hop(&self, site: &Site<'_>, destination: IpAddr) -> NextHop {
        if let Some((place, _)) = self.instance {
            let Some(route) = place.route_to(destination).filter(|route| !route.refuses) else {
                return NextHop::None;
            };
            return match route.hops.first().and_then(|hop| hop.gateway) {
                Some(gateway) => NextHop::Ask(gateway),
                None => NextHop::Ask(destination),
            };
        }
        let own = site.routers.iter().flat_map(|router| {
            let is_inside = |device: u32| router.insides.iter().any(|inside| inside.device.index == device);
            router.place.addresses.iter().filter(move |address| is_inside(address.device))
        });
        let networks: Vec<_> =
            own.map(|address| address.net).filter(|net| net.contains(&self.address)).collect();
        // Others on the host may have the same network; a port may be at the wrong bridge.
        let near = routers(site.host, self.edge, self.address);
        let mut nearest = networks.iter().filter(|net| near.contains(&net.addr()));
        let ((Some(net), _) | (None, [net])) = (nearest.next(), &networks[..]) else {
            return NextHop::Unknown;
        };
        NextHop::Ask(if net.contains(&destination) { destination } else { net.addr() })
    }
}

/// Which address of it is meant.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Address(IpAddr),
    /// The one that this is reached from.
    Towards(IpAddr),
}

impl Wanted {
    fn is(self, address: IpAddr) -> bool {
        match self {
            Self::Address(wanted) => address == wanted,
            Self::Towards(destination) => address.is_ipv6() == destination.is_ipv6() && !is_local(address),
        }
    }

    /// Whether it is behind a device of an instance: that has the address, or packets leave by it.
    fn prefers(self, place: &Place, device: &Device) -> bool {
        match self {
            Self::Address(wanted) => place.addresses_of(device).any(|address| address.net.addr() == wanted),
            Self::Towards(destination) => place
                .route_to(destination)
                .is_some_and(|route| route.hops.iter().any(|hop| hop.device == device.index)),
        }
    }
}

/// Whether an address is for its own link alone.
fn is_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The one instance that there is.
fn only<'a>(host: &'a Host, site: &Site<'a>, wanted: Wanted) -> Result<Subject<'a>, SubjectError> {
    let seen = site.instances().filter_map(|(_, _, place, _)| of_place(host, place, wanted).ok()?);
    // The way out may be a pair as well, and a router's port is one.
    let hops = host.places.iter().flat_map(|place| &place.routes).flat_map(|route| &route.hops);
    let gateways: Vec<_> = hops.filter_map(|hop| hop.gateway).collect();
    let ports = host.home().devices.iter().filter(|device| device.port.is_some() || device.is("tun"));
    let guests = ports
        .filter(|port| is_guest(host, port))
        .filter_map(|port| behind(host, port, wanted).ok())
        .filter(|subject| !gateways.contains(&subject.address));
    one(seen.chain(guests)).unwrap_or(Err(SubjectError::None))
}

/// The one of several; `None`: there is none.
fn one<'a>(subjects: impl Iterator<Item = Subject<'a>>) -> Option<Result<Subject<'a>, SubjectError>> {
    let mut subjects: Vec<_> = subjects.collect();
    subjects.sort_by_key(|subject| subject.edge.index);
    subjects.dedup_by_key(|subject| subject.edge.index);
    match subjects.as_slice() {
        [] => None,
        [subject] => Some(Ok(*subject)),
        several => {
            let names: Vec<_> =
                several.iter().map(|one| format!("{} ({})", one.edge.name, one.address)).collect();
            Some(Err(SubjectError::Several(names.join(", "))))
        }
    }
}

/// What is behind a device.
fn behind<'a>(host: &'a Host, edge: &'a Device, wanted: Wanted) -> Result<Subject<'a>, SubjectError> {
    let silent = || SubjectError::Silent(edge.name.clone());
    if let Some((place, device)) = host.peer(host.home(), edge)
        && place.addresses_of(device).next().is_some()
    {
        let address = first_address(place, device, wanted)?;
        let mac = device.mac.ok_or_else(silent)?;
        return Ok(Subject { edge, instance: Some((place, device)), address, mac });
    }
    let heard =
        host.home().stations.iter().filter(|station| station.port == edge.index && !station.permanent);
    let mut macs: Vec<_> = heard.map(|station| station.mac).collect();
    // A device that no bridge has: who is a neighbour by it.
    let neighbours = host.home().neighbours.iter().filter(|neighbour| neighbour.device == edge.index);
    macs.extend(neighbours.filter_map(|neighbour| neighbour.mac));
    let known = macs.iter().find_map(|mac| Some((*mac, neighbour_of(host, *mac, wanted)?)));
    let (mac, address) = known.ok_or_else(silent)?;
    Ok(Subject { edge, instance: None, address, mac })
}

/// The address that a station is known by as a neighbour, wherever that is.
fn neighbour_of(host: &Host, mac: [u8; 6], wanted: Wanted) -> Option<IpAddr> {
    let neighbours = host.places.iter().flat_map(|place| &place.neighbours);
    let mut addresses =
        neighbours.filter(|neighbour| neighbour.mac == Some(mac)).map(|neighbour| neighbour.address);
    addresses.find(|address| wanted.is(*address))
}

/// Several networks of a host may have the same addresses.
fn by_address(host: &Host, address: IpAddr) -> Result<Subject<'_>, SubjectError> {
    let wanted = Wanted::Address(address);
    let home = host.home();
    let places = host.places.iter().skip(1).filter(|place| place.has(address));
    let seen = places.filter_map(|place| of_place(host, place, wanted).ok()?);
    let neighbours = host.places.iter().flat_map(|place| &place.neighbours);
    let macs: Vec<_> = neighbours
        .filter(|neighbour| neighbour.address == address)
        .filter_map(|neighbour| neighbour.mac)
        .collect();
    // Further bridges have learned them, too, at ports that lead to the first one.
    let guests = home
        .stations
        .iter()
        .filter(|station| macs.contains(&station.mac) && !station.permanent)
        .filter_map(|station| home.device(station.port).filter(|port| is_guest(host, port)))
        .filter_map(|port| behind(host, port, wanted).ok());
    one(seen.chain(guests)).unwrap_or_else(|| Err(SubjectError::Unknown(address.to_string())))
}

/// Whether an instance whose namespace is not seen may be behind a device: a TAP, or a pair into another namespace.
fn is_guest(host: &Host, device: &Device) -> bool {
    let leads_out = device.is("veth") && device.leads_to.is_some();
    device.is_ethernet() && (device.is("tun") || leads_out) && host.peer(host.home(), device).is_none()
}

/// The pair of an instance's namespace that leads here; of several, the one that is meant.
fn of_place<'a>(
    host: &'a Host,
    place: &'a Place,
    wanted: Wanted,
) -> Result<Option<Subject<'a>>, SubjectError> {
    let ends = place.devices.iter().filter(|device| device.is("veth")).filter_map(|device| {
        let (there, edge) = host.peer(place, device)?;
        let is_here = there.cookie == host.home().cookie && there.cookie != place.cookie;
        (is_here && place.addresses_of(device).next().is_some()).then_some((device, edge, device.mac?))
    });
    // The first one of those that are preferred, or of all.
    let Some((device, edge, mac)) = ends.min_by_key(|(device, ..)| !wanted.prefers(place, device)) else {
        return Ok(None);
    };
    let address = first_address(place, device, wanted)?;
    Ok(Some(Subject { edge, instance: Some((place, device)), address, mac }))
}

fn first_address(place: &Place, device: &Device, wanted: Wanted) -> Result<IpAddr, SubjectError> {
    let mut addresses = place.addresses_of(device).map(|address| address.net.addr());
    let family = match wanted {
        Wanted::Address(address) => return Ok(address),
        Wanted::Towards(destination) if destination.is_ipv6() => "IPv6",
        Wanted::Towards(_) => "IPv4",
    };
    let found = addresses.find(|address| wanted.is(*address));
    found.ok_or_else(|| SubjectError::NoAddress(place.name.clone(), family))
}

/// Cookie of the network namespace of a container of Docker or podman.
fn container(name: &str) -> Option<u64> {
    let process = ["docker", "podman"].iter().find_map(|program| {
        let output =
            Command::new(program).args(["inspect", "-f", "{{.State.Pid}}", "--", name]).output().ok()?;
        let process: u32 = String::from_utf8(output.stdout).ok()?.trim().parse().ok()?;
        (output.status.success() && process != 0).then_some(process)
    })?;
    let namespace = File::open(format!("/proc/{process}/ns/net")).ok()?;
    inside(&namespace, || cookie().map_err(io::Error::other)).ok()
}

/// The first TAP of a guest of libvirt.
fn guest(name: &str) -> Option<String> {
    let output = Command::new("virsh").args(["domiflist", "--", name]).env("LC_ALL", "C").output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    first_interface(&text)
}

/// Of a table: two lines of heading, then the interface first.
fn first_interface(table: &str) -> Option<String> {
    let mut names = table.lines().skip(2).filter_map(|line| line.split_whitespace().next());
    names.find(|name| *name != "-").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_interface_is_read_from_the_table() {
        let table = " Interface   Type      Source    Model    MAC\n-----\n vnet0 network default virtio 52:54:00:00:00:01\n";
        assert_eq!(first_interface(table).as_deref(), Some("vnet0"));
        assert_eq!(first_interface(" Interface\n---\n -  network\n"), None);
    }

    #[test]
    fn without_an_instance_it_is_said() {
        let host = Host { places: vec![Place::default()], ..Host::default() };
        let site = Site::of(&host);
        let server: IpAddr = [203, 0, 113, 10].into();
        let found = |from| Subject::find(&host, &site, from, server).unwrap_err();
        assert_eq!(found(None), SubjectError::None);
        assert_eq!(found(Some("10.9.9.9")), SubjectError::Unknown("10.9.9.9".to_owned()));
        let other: IpAddr = "fd00::b".parse().unwrap();
        assert_eq!(found(Some("fd00::b")), SubjectError::Families(other, server));
    }
}
