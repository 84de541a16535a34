//! Other network namespaces that packets of this one pass, or end in.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
};

use natbpf_common::IfIndex;

use super::Link;
use crate::netns::{CURRENT, cookie, inside};

mod foreign;
mod handle;
mod middle;
mod number;
mod surroundings;

pub use handle::{Handle, all};
pub use number::{Number, of as number_of};
pub use surroundings::Surroundings;

use foreign::{Foreign, bridges, obstacle};
use middle::Joints;

/// So many are looked at.
const LIMIT: usize = 4096;

/// Whether a namespace routes, of the calling thread's.
const FORWARDING: [&str; 2] =
    ["/proc/sys/net/ipv4/conf/all/forwarding", "/proc/sys/net/ipv6/conf/all/forwarding"];

/// Those that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// In the middle: what they do to packets, the host does.
    pub middle: Vec<Middle>,
    /// Names of others, as far as they have some.
    names: BTreeMap<Number, String>,
}

/// A namespace that packets pass on their way between two devices of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Middle {
    /// What this namespace calls it.
    pub number: Number,
    /// The kernel's number of it, which is never used again (`SO_NETNS_COOKIE`).
    pub cookie: u64,
    pub handle: Handle,
    /// What of its devices would have to see each packet, in words.
    pub obstacle: Option<String>,
}

impl Namespaces {
    /// The one in the middle that a device leads into.
    pub fn passed(&self, link: &Link) -> Option<&Middle> {
        let number = link.leads_to?;
        self.middle.iter().find(|middle| middle.number == number)
    }

    /// What to call the one that a device leads into, if that has a name.
    pub fn name(&self, link: &Link) -> Option<&str> {
        link.leads_to.and_then(|number| self.names.get(&number)).map(String::as_str)
    }

    /// Looks for them, from the network namespace of the calling thread with these devices.
    pub fn find(links: &[Link]) -> io::Result<Self> {
        let here = File::open(CURRENT)?;
        let (mut known, strangers) = numbered(handle::named());
        // Devices that lie on one of here, as macvlan does, are seen only from there.
        let switch = links.iter().any(|link| link.is("openvswitch"));
        known.extend(strangers.into_iter().filter_map(|handle| met(&here, switch, handle)));
        let devices = explore(links, &known)?;
        let home = number::of(&here)?;
        let joints = joints(links, &devices, home, switch);
        let crossed = joints.crossed();
        if crossed.iter().any(|number| !known.contains_key(number)) {
            let names: Vec<Handle> = known.values().cloned().collect();
            let (processes, _) = numbered(handle::of_processes(&names));
            known.extend(processes.into_iter().filter(|(number, _)| crossed.contains(number)));
        }
        // One that cannot be entered is an end: its devices are edges then, and it sees each packet.
        let seen: BTreeMap<Number, (u64, bool)> = crossed
            .into_iter()
            .filter_map(|number| {
                let (cookie, routes) = enter(known.get(&number)?).ok()?;
                Some((
                    number,
                    (cookie, routes || devices.get(&number).is_some_and(|devices| bridges(devices))),
                ))
            })
            .collect();
        let middle = joints.middle(|number| seen.get(&number).is_some_and(|(_, passes)| *passes));
        let middle = middle.into_iter().filter_map(|number| {
            let handle = known.get(&number)?.clone();
            let obstacle = devices.get(&number).and_then(|devices| obstacle(devices));
            Some(Middle { number, cookie: seen.get(&number)?.0, handle, obstacle })
        });
        let middle = middle.collect();
        Ok(Self {
            middle,
            names: known.into_iter().map(|(number, handle)| (number, handle.to_string())).collect(),
        })
    }
}

/// Where each handle leads, by number, and those without. One that has gone meanwhile is neither.
fn numbered(handles: Vec<Handle>) -> (BTreeMap<Number, Handle>, Vec<Handle>) {
    let (mut known, mut strangers) = (BTreeMap::new(), Vec::new());
    for handle in handles {
        match handle.open().and_then(|file| number::of(&file)) {
            Ok(Some(number)) => {
                known.insert(number, handle);
            }
            Ok(None) => strangers.push(handle),
            Err(_) => {}
        }
    }
    (known, strangers)
}

/// A number for a namespace without one, if a device of its leads here.
fn met(here: &File, switch: bool, handle: Handle) -> Option<(Number, Handle)> {
    /// Not a number that the kernel gives.
    const SWITCH: Number = Number::MIN;
    let there = handle.open().ok()?;
    let leads_here = inside(&there, || {
        let devices = foreign::own()?;
        let home = number::of(here)?;
        let ours = |number: Number| Some(number) == home || number == SWITCH;
        Ok(devices.iter().filter_map(|device| device.leads(switch.then_some(SWITCH))).any(ours))
    });
    if !leads_here.ok()? {
        return None;
    }
    Some((number::give(&there).ok()??, handle))
}

/// The devices of each namespace that something leads to, from here or from another one.
fn explore(links: &[Link], known: &BTreeMap<Number, Handle>) -> io::Result<BTreeMap<Number, Vec<Foreign>>> {
    let mut next: Vec<Number> =
        links.iter().filter_map(|link| link.leads_to).chain(known.keys().copied()).collect();
    let mut found = BTreeMap::new();
    while let Some(number) = next.pop() {
        if found.len() >= LIMIT || found.contains_key(&number) {
            continue;
        }
        // It may have gone meanwhile.
        let devices = match foreign::devices(number) {
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => return Err(error),
            devices => devices.unwrap_or_default(),
        };
        next.extend(devices.iter().filter_map(|device| device.leads_to));
        found.insert(number, devices);
    }
    Ok(found)
}

/// How they are joined; `home` is the number that this namespace has for itself.
fn joints(
    links: &[Link],
    devices: &BTreeMap<Number, Vec<Foreign>>,
    home: Option<Number>,
    switch: bool,
) -> Joints {
    /// For this namespace, where it has no number.
    const HOME: Number = Number::MIN;
    let home = Some(home.unwrap_or(HOME));
    let switch = home.filter(|_| switch);
    let mut joints = Joints::default();
    let mut add = |from: Option<Number>, leads_to: &mut dyn Iterator<Item = Number>| {
        let mut pairs: BTreeMap<Number, usize> = BTreeMap::new();
        leads_to.for_each(|number| *pairs.entry(number).or_default() += 1);
        for (number, pairs) in pairs {
            let other = Some(number).filter(|number| Some(*number) != home);
            if from != other {
                joints.join(from, other, pairs);
            }
        }
    };
    add(None, &mut links.iter().filter_map(|link| link.leads_to));
    for (number, devices) in devices.iter().filter(|(number, _)| Some(**number) != home) {
        add(Some(*number), &mut devices.iter().filter_map(|device| device.leads(switch)));
    }
    joints
}

/// Cookie, and whether it routes.
fn enter(handle: &Handle) -> io::Result<(u64, bool)> {
    inside(&handle.open()?, || {
        let routes =
            FORWARDING.iter().any(|path| fs::read_to_string(path).is_ok_and(|value| value.trim() != "0"));
        Ok((cookie().map_err(io::Error::other)?, routes))
    })
}

/// Where namespaces with these cookies are, as far as there is a way into them.
pub fn with_cookies(mut cookies: BTreeSet<u64>) -> Vec<(u64, Handle)> {
    if cookies.is_empty() {
        return Vec::new();
    }
    let named = handle::named();
    let processes = handle::of_processes(&named);
    let mut found = Vec::new();
    for handle in named.into_iter().chain(processes) {
        if cookies.is_empty() {
            break;
        }
        let cookie = handle.open().and_then(|there| inside(&there, || cookie().map_err(io::Error::other)));
        if let Some(cookie) = cookie.ok().filter(|cookie| cookies.remove(cookie)) {
            found.push((cookie, handle));
        }
    }
    found
}

/// Devices that lead somewhere, by index.
pub fn leading(links: &[Link]) -> BTreeSet<(IfIndex, Number)> {
    links.iter().filter_map(|link| Some((link.index, link.leads_to?))).collect()
}
