//! The rules of ip_tables and ip6_tables, by sockets (linux/netfilter_ipv4/ip_tables.h). A table that is not there is
//! not asked for, since that would have the kernel load it.

use std::{
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use super::{model::Table, traffic};
use crate::netlink::message::u32_at;

mod blob;

use blob::{Info, Layout, V4, V6};

/// `IPT_SO_GET_INFO`, `IPT_SO_GET_ENTRIES`, and those of IPv6
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;

/// Of `struct ipt_getinfo`.
const INFO: usize = 84;

/// Of `struct ipt_get_entries` before the entries.
const BEFORE_ENTRIES: usize = 40;

/// Of a table's name.
const NAME: usize = 32;

/// Rules that somebody changes while they are read are read again, so often.
const ATTEMPTS: u32 = 5;

/// A family, and where its tables are listed for the calling thread's network namespace.
struct Family {
    layout: Layout,
    tool: &'static str,
    of: traffic::Family,
    list: &'static str,
    domain: libc::c_int,
    level: libc::c_int,
}

const FAMILIES: [Family; 2] = [
    Family {
        layout: V4,
        tool: "iptables-legacy",
        of: traffic::Family::V4,
        list: "/proc/thread-self/net/ip_tables_names",
        domain: libc::AF_INET,
        level: libc::IPPROTO_IP,
    },
    Family {
        layout: V6,
        tool: "ip6tables-legacy",
        of: traffic::Family::V6,
        list: "/proc/thread-self/net/ip6_tables_names",
        domain: libc::AF_INET6,
        level: libc::IPPROTO_IPV6,
    },
];

/// The tables of the calling thread's network namespace.
pub fn tables() -> io::Result<Vec<Table>> {
    let mut tables = Vec::new();
    for family in &FAMILIES {
        // Only the first packet of a connection comes to `nat`.
        let names = fs::read_to_string(family.list).unwrap_or_default();
        let names: Vec<&str> = names.lines().filter(|name| *name != "nat").collect();
        if names.is_empty() {
            continue;
        }
        let socket = open(family)?;
        for name in names {
            tables.extend(family.table(&socket, name)?);
        }
    }
    Ok(tables)
}

fn open(family: &Family) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let socket =
        unsafe { libc::socket(family.domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

impl Family {
    /// `None`: it has gone.
    fn table(&self, socket: &OwnedFd, name: &str) -> io::Result<Option<Table>> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.try_table(socket, name) {
                // It has another size by now.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && attempt < ATTEMPTS => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
                other => return other.map(Some),
            }
        }
    }

    fn try_table(&self, socket: &OwnedFd, name: &str) -> io::Result<Table> {
        let mut asked = vec![0; INFO];
        let length = name.len().min(NAME - 1);
        asked[..length].copy_from_slice(&name.as_bytes()[..length]);
        self.get(socket, GET_INFO, &mut asked)?;
        let info = Info::of(&asked[NAME..]).ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = u32_at(&asked, INFO - 4).unwrap_or_default();
        let mut entries = vec![0; BEFORE_ENTRIES + size as usize];
        entries[..NAME].copy_from_slice(&asked[..NAME]);
        entries[NAME..NAME + 4].copy_from_slice(&size.to_ne_bytes());
        self.get(socket, GET_ENTRIES, &mut entries)?;
        let chains = blob::chains(self.layout, &info, &entries[BEFORE_ENTRIES..]);
        Ok(Table { name: format!("{} {name}", self.tool), family: Some(self.of), chains })
    }

    fn get(&self, socket: &OwnedFd, option: libc::c_int, value: &mut [u8]) -> io::Result<()> {
        let mut length = value.len() as libc::socklen_t;
        // SAFETY: the value is valid for writes, and as long as said.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                self.level,
                option,
                value.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
