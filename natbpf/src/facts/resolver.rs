//! Name servers that programs of a network namespace ask.

use std::{collections::BTreeSet, fs, net::IpAddr, os::unix::fs::MetadataExt as _, path::Path};

use super::plain::Plain;

/// `_PATH_RESCONF`
const FILE: &str = "etc/resolv.conf";

/// A longer file is not read.
const LENGTH: u64 = 65536;

/// A file of name servers (resolv.conf(5)) that is not the host's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    /// Number of the file that the network namespace is.
    pub namespace: u64,
    /// Where the file is found from here.
    pub path: String,
    pub servers: Vec<IpAddr>,
}

/// Those that processes see. A process that sees the host's file was started by the host, and may never ask for a name
/// in a namespace where the host's name servers are not.
pub fn look() -> Vec<Resolver> {
    let host = [Path::new("/"), Path::new("/proc/1/root")];
    let own: BTreeSet<_> = host.iter().filter_map(|root| Some(Plain::find(root, FILE)?.identity())).collect();
    let mut seen = BTreeSet::new();
    let mut resolvers = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let is_process = entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
        let Ok(namespace) = fs::metadata(entry.path().join("ns/net")).map(|there| there.ino()) else {
            continue;
        };
        let root = entry.path().join("root");
        let Some(file) = Plain::find(&root, FILE).filter(|_| is_process) else { continue };
        if own.contains(&file.identity()) || !seen.insert((namespace, file.identity())) {
            continue;
        }
        let Some(text) = file.text(LENGTH) else { continue };
        let path = root.join(FILE).display().to_string();
        resolvers.push(Resolver { namespace, path, servers: servers(&text) });
    }
    resolvers
}

fn servers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        // `fe80::1%eth0`
        address.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(server).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read() {
        let text =
            "# nameserver 1.1.1.1\nsearch example.org\nnameserver 10.0.0.1\n nameserver fe80::1%eth0 x\n";
        let wanted: [IpAddr; 2] = [IpAddr::from([10, 0, 0, 1]), "fe80::1".parse().unwrap()];
        assert_eq!(servers(text), wanted);
    }
}
