//! Name servers that programs of a network namespace ask.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Read as _,
    net::IpAddr,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// `_PATH_RESCONF`
const FILE: &str = "etc/resolv.conf";

/// More of a file is not read.
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
    let mut seen: BTreeSet<_> = host.iter().filter_map(|root| Some((0, identity(&file(root)?)?))).collect();
    let own: BTreeSet<_> = seen.iter().map(|(_, file)| *file).collect();
    let mut resolvers = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let is_process = entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
        let Ok(namespace) = fs::metadata(entry.path().join("ns/net")).map(|there| there.ino()) else {
            continue;
        };
        let Some(path) = file(&entry.path().join("root")).filter(|_| is_process) else { continue };
        let Some(identity) = identity(&path) else { continue };
        if own.contains(&identity) || !seen.insert((namespace, identity)) {
            continue;
        }
        let Some(text) = read(&path) else { continue };
        let path = path.display().to_string();
        resolvers.push(Resolver { namespace, path, servers: servers(&text) });
    }
    resolvers
}

/// The file below a root directory. A link that is absolute is one of that root, not of ours.
fn file(root: &Path) -> Option<PathBuf> {
    let path = root.join(FILE);
    match fs::read_link(&path) {
        Ok(target) => match target.strip_prefix("/") {
            Ok(target) => Some(root.join(target)),
            Err(_) => Some(path),
        },
        Err(_) => fs::symlink_metadata(&path).ok().map(|_| path),
    }
}

/// Of a plain file.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some((found.dev(), found.ino()))
}

fn read(path: &Path) -> Option<String> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path);
    let mut text = Vec::new();
    file.ok()?.take(LENGTH).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
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

    #[test]
    fn an_absolute_link_stays_below_its_root() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        assert_eq!(file(root.path()), None);
        std::os::unix::fs::symlink("/run/stub", root.path().join(FILE)).unwrap();
        assert_eq!(file(root.path()), Some(root.path().join("run/stub")));
    }
}
