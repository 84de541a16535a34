//! Whose packet: the device of the host that an instance is behind, the instance, and whom it asks to pass packets on.

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr},
    process::Command,
};

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
    pub address: Ipv4Addr,
    pub mac: [u8; 6],
}

/// Whom an instance asks for the way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// A gateway, or the destination itself.
    Ask(Ipv4Addr),
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
    #[error(
        "nothing was ever heard of an instance at {0}: no station in a bridge's table and no neighbour; it has not \
         sent a packet yet, or its address is not known"
    )]
    Silent(String),
}

impl<'a> Subject<'a> {
    /// `from`: a device, an address, or the name of a network namespace, a container or a guest.
    pub fn find(host: &'a Host, site: &Site<'a>, from: Option<&str>) -> Result<Self, SubjectError> {
        let Some(from) = from else { return only(host, site) };
        if let Some(edge) = host.home().named(from) {
            return behind(host, edge, None);
        }
        if let Ok(address) = from.parse::<Ipv4Addr>() {
            return by_address(host, address);
        }
        let elsewhere = || SubjectError::Elsewhere(from.to_owned());
        if let Some(place) = host.places.iter().find(|place| place.name == from) {
            return of_place(host, place).ok_or_else(elsewhere);
        }
        if let Some(place) = container(from).and_then(|cookie| host.at(cookie)) {
            return of_place(host, place).ok_or_else(elsewhere);
        }
        match guest(from) {
            Some(device) => behind(host, host.home().named(&device).ok_or_else(elsewhere)?, None),
            None => Err(SubjectError::Unknown(from.to_owned())),
        }
    }

    /// Whom it asks for the way to `destination`.
    pub fn next_hop(&self, site: &Site<'_>, destination: Ipv4Addr) -> NextHop {
        if let Some((place, _)) = self.instance {
            let Some(route) = place.route_to(destination.into()).filter(|route| !route.refuses) else {
                return NextHop::None;
            };
            return match route.hops.first().and_then(|hop| hop.gateway) {
                Some(IpAddr::V4(gateway)) => NextHop::Ask(gateway),
                _ => NextHop::Ask(destination),
            };
        }
        let mut networks = site.routers.iter().flat_map(|router| &router.insides);
        match networks.find(|inside| inside.net.contains(&self.address)) {
            Some(inside) if inside.net.contains(&destination) => NextHop::Ask(destination),
            Some(inside) => NextHop::Ask(inside.net.addr()),
            None => NextHop::Unknown,
        }
    }
}

/// The one instance that there is.
fn only<'a>(host: &'a Host, site: &Site<'a>) -> Result<Subject<'a>, SubjectError> {
    let mut subjects: Vec<_> =
        site.instances().filter_map(|(_, _, place, _)| of_place(host, place)).collect();
    subjects.dedup_by_key(|subject| subject.edge.index);
    match subjects.as_slice() {
        [] => Err(SubjectError::None),
        [subject] => Ok(*subject),
        several => {
            let names: Vec<_> =
                several.iter().map(|one| format!("{} ({})", one.edge.name, one.address)).collect();
            Err(SubjectError::Several(names.join(", ")))
        }
    }
}

/// What is behind a device. `address`: that it is to have.
fn behind<'a>(
    host: &'a Host,
    edge: &'a Device,
    address: Option<Ipv4Addr>,
) -> Result<Subject<'a>, SubjectError> {
    let silent = || SubjectError::Silent(edge.name.clone());
    if let Some((place, device)) = host.peer(host.home(), edge)
        && let Some(own) = first_address(place, device)
    {
        let mac = device.mac.ok_or_else(silent)?;
        return Ok(Subject { edge, instance: Some((place, device)), address: address.unwrap_or(own), mac });
    }
    let heard =
        host.home().stations.iter().filter(|station| station.port == edge.index && !station.permanent);
    let mut macs: Vec<_> = heard.map(|station| station.mac).collect();
    // A device that no bridge has: who is a neighbour by it.
    let neighbours = host.home().neighbours.iter().filter(|neighbour| neighbour.device == edge.index);
    macs.extend(neighbours.filter_map(|neighbour| neighbour.mac));
    let known = macs.iter().find_map(|mac| Some((*mac, address.or_else(|| neighbour_of(host, *mac))?)));
    let (mac, address) = known.ok_or_else(silent)?;
    Ok(Subject { edge, instance: None, address, mac })
}

/// The address that a station is known by as a neighbour, wherever that is.
fn neighbour_of(host: &Host, mac: [u8; 6]) -> Option<Ipv4Addr> {
    let neighbours = host.places.iter().flat_map(|place| &place.neighbours);
    neighbours.filter(|neighbour| neighbour.mac == Some(mac)).find_map(|neighbour| match neighbour.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}

fn by_address(host: &Host, address: Ipv4Addr) -> Result<Subject<'_>, SubjectError> {
    for place in host.places.iter().skip(1).filter(|place| place.has(address.into())) {
        if let Some(subject) = of_place(host, place) {
            return Ok(Subject { address, ..subject });
        }
    }
    let neighbours = host.places.iter().flat_map(|place| &place.neighbours);
    let macs =
        neighbours.filter(|neighbour| neighbour.address == address).filter_map(|neighbour| neighbour.mac);
    let macs: Vec<_> = macs.collect();
    let home = host.home();
    let ports = home
        .stations
        .iter()
        .filter(|station| macs.contains(&station.mac) && !station.permanent)
        .filter_map(|station| home.device(station.port));
    // Further bridges have learned it, too, at ports that lead to the first one.
    let edge = ports.into_iter().find(|port| is_edge(host, port));
    let edge = edge.ok_or_else(|| SubjectError::Unknown(address.to_string()))?;
    behind(host, edge, Some(address))
}

/// Whether an instance may be behind a device: a TAP, or a pair into another network namespace.
fn is_edge(host: &Host, device: &Device) -> bool {
    device.is("tun")
        || device.is("veth")
            && device.leads_to.is_some()
            && host.peer(host.home(), device).is_none_or(|(place, _)| !place.forwards())
}

/// The first pair of an instance's namespace that leads here.
fn of_place<'a>(host: &'a Host, place: &'a Place) -> Option<Subject<'a>> {
    place.devices.iter().filter(|device| device.is("veth")).find_map(|device| {
        let (there, edge) = host.peer(place, device)?;
        let is_here = there.cookie == host.home().cookie && there.cookie != place.cookie;
        let address = first_address(place, device).filter(|_| is_here)?;
        Some(Subject { edge, instance: Some((place, device)), address, mac: device.mac? })
    })
}

fn first_address(place: &Place, device: &Device) -> Option<Ipv4Addr> {
    place.addresses_of(device).find_map(|address| match address.net.addr() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
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
        assert_eq!(Subject::find(&host, &site, None).unwrap_err(), SubjectError::None);
        let named = Subject::find(&host, &site, Some("10.9.9.9")).unwrap_err();
        assert_eq!(named, SubjectError::Unknown("10.9.9.9".to_owned()));
    }
}
