//! Processes that serve instances, or ask for them.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use super::Dnsmasq;

/// Names of programs that are looked at.
const PROGRAMS: [&str; 6] = ["dnsmasq", "dhcpd", "kea-dhcp4", "udhcpd", "dockerd", "libvirtd"];
/// Of those that ask for addresses, by packet sockets for the most part: port 68 is theirs only afterwards.
const CLIENTS: [&str; 8] = [
    "dhclient",
    "udhcpc",
    "dhcpcd",
    "systemd-networkd",
    "NetworkManager",
    "connmand",
    "wickedd",
    "wickedd-dhcp4",
];
/// Of those by which an address is now here, now on another host: keepalived, Pacemaker, ucarp and FRR.
const MOVERS: [&str; 5] = ["keepalived", "pacemakerd", "ucarp", "vrrpd", "bgpd"];

/// More processes are not looked at, and more of a command line is not read.
const LIMIT: usize = 1024;
const LENGTH: u64 = 65536;

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Daemon {
    pub process: u32,
    pub program: String,
    pub arguments: Vec<String>,
    /// Number of the file that its network namespace is.
    pub namespace: u64,
    /// What dnsmasq was told.
    pub dnsmasq: Option<Dnsmasq>,
}

/// Those of this host, and what could not be looked at.
pub fn look() -> (Vec<Daemon>, Option<String>) {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let daemon = |entry: fs::DirEntry| {
        let process = entry.file_name().to_string_lossy().parse().ok()?;
        of(process, &entry.path())
    };
    let mut daemons = entries.filter_map(daemon);
    let seen = daemons.by_ref().take(LIMIT).collect();
    let left = daemons.next().map(|_| format!("more than {LIMIT} processes that serve instances"));
    (seen, left)
}

fn of(process: u32, folder: &Path) -> Option<Daemon> {
    let mut line = Vec::new();
    let read = File::open(folder.join("cmdline")).ok()?.take(LENGTH).read_to_end(&mut line).ok()?;
    let mut words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let program = words.next()?.rsplit('/').next()?.to_owned();
    if !PROGRAMS.iter().chain(&CLIENTS).chain(&MOVERS).any(|known| *known == program) {
        return None;
    }
    let namespace = fs::metadata(folder.join("ns/net")).ok()?.ino();
    let arguments: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let mut dnsmasq = (program == "dnsmasq").then(|| Dnsmasq::read(&arguments, &folder.join("root")));
    if let Some(told) = &mut dnsmasq {
        told.complete &= (read as u64) < LENGTH;
    }
    Some(Daemon { process, program, arguments, namespace, dnsmasq })
}

impl Daemon {
    /// Whether it takes addresses from other hosts, and leaves them to others.
    pub fn moves_addresses(&self) -> bool {
        MOVERS.contains(&&*self.program)
    }

    /// Whether it asks for an address.
    pub fn is_client(&self) -> bool {
        CLIENTS.contains(&&*self.program)
    }
}
