//! Network namespaces.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    panic,
    path::{Path, PathBuf},
    thread,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

/// Where `ip netns` keeps the namespaces that have names (ip-netns(8)).
const NAMED: &str = "/run/netns";

/// The calling thread's own.
pub const CURRENT: &str = "/proc/thread-self/ns/net";

/// Why a network namespace could not be had.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    #[error(
        "there is no network namespace {0}; `ip netns list` shows those with names, `ip netns add` makes one"
    )]
    Missing(String),
    #[error(
        "{0} is not a network namespace; give a name of `ip netns list`, or a path such as /proc/PID/ns/net"
    )]
    Other(String),
    #[error("cannot enter the network namespace {name}: {error}; run natbpf as root")]
    Forbidden { name: String, error: io::Error },
    #[error("cannot read the cookie of the network namespace: {0}; natbpf needs Linux 6.1 or newer")]
    Cookie(io::Error),
}

/// Moves the calling thread into a network namespace, given by its name or a path with `/`.
///
/// Threads that run already stay where they are: call it before any is started.
pub fn enter(name: &str) -> Result<(), NetnsError> {
    let forbidden = |error: io::Error| NetnsError::Forbidden { name: name.to_owned(), error };
    let file = File::open(path(name)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => NetnsError::Missing(name.to_owned()),
        _ => forbidden(error),
    })?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|errno| match errno {
        nix::Error::EINVAL => NetnsError::Other(name.to_owned()),
        _ => forbidden(errno.into()),
    })
}

/// Does something in another network namespace, on a thread of its own that ends with it. Sockets that it opens stay
/// there, and keep the namespace.
pub fn inside<T: Send>(namespace: &File, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let there = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, || {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            work()
        })?;
        there.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
    })
}

/// The kernel's number of the calling thread's network namespace, which is never used again as long as the
/// host runs (`SO_NETNS_COOKIE`, Linux 5.14).
pub fn cookie() -> Result<u64, NetnsError> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| NetnsError::Cookie(errno.into()))?;
    let mut cookie = 0u64;
    let mut length = size_of_val(&cookie) as libc::socklen_t;
    // SAFETY: value and length are valid for writes, and the length is that of the value.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(NetnsError::Cookie(io::Error::last_os_error())) }
}

/// What to call the calling thread's network namespace: its name, if it has one, else `net:[INODE]` as in
/// `/proc`.
pub fn label() -> String {
    let Ok(current) = fs::metadata(CURRENT) else { return "unknown".to_owned() };
    let same = |path: &Path| {
        fs::metadata(path).is_ok_and(|other| (other.dev(), other.ino()) == (current.dev(), current.ino()))
    };
    let named = fs::read_dir(NAMED).into_iter().flatten().flatten().find(|entry| same(&entry.path()));
    match named {
        Some(entry) => entry.file_name().to_string_lossy().into_owned(),
        None => format!("net:[{}]", current.ino()),
    }
}

fn path(name: &str) -> PathBuf {
    if name.contains('/') { PathBuf::from(name) } else { Path::new(NAMED).join(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_namespace_is_named() {
        let message = |name| enter(name).unwrap_err().to_string();
        assert!(message("no-such-namespace").contains("ip netns list"));
        assert!(message("/no/such/path").starts_with("there is no network namespace /no/such/path"));
        assert!(message("/proc/self/status").starts_with("/proc/self/status is not a network namespace"));
    }

    #[test]
    fn a_namespace_has_a_cookie_and_a_label() {
        assert_eq!(cookie().unwrap(), cookie().unwrap());
        assert_ne!(cookie().unwrap(), 0);
        assert!(!label().is_empty());
    }
}
