//! How other network namespaces are entered: by their names, or by a process that is there.

use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Where namespaces have names: those of ip-netns(8), of container runtimes that follow CNI, and of Docker.
const FOLDERS: [&str; 3] = ["/run/netns", "/var/run/netns", "/run/docker/netns"];

const PROCESSES: &str = "/proc";

/// Device and number of the file that a namespace is. The latter is used again after its end.
type Inode = (u64, u64);

/// A path that leads into a namespace as long as it is the same file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handle {
    path: PathBuf,
    inode: Inode,
}

impl Handle {
    /// `None`: there is nothing, or it may not be seen.
    pub fn of(path: impl Into<PathBuf>) -> Option<Self> {
        let path = path.into();
        let inode = inode(&path).ok()?;
        Some(Self { path, inode })
    }

    /// Keeps the namespace as long as it is open.
    pub fn open(&self) -> io::Result<File> {
        let file = File::open(&self.path)?;
        let found = file.metadata()?;
        if (found.dev(), found.ino()) == self.inode { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Whether it has a name, which does not end with a process.
    pub fn is_named(&self) -> bool {
        !self.path.starts_with(PROCESSES)
    }

    /// What runs a command there, in front of the command.
    pub fn command(&self) -> String {
        let name = self.path.parent().filter(|folder| Path::new(FOLDERS[0]) == *folder);
        match name.and(self.path.file_name()) {
            Some(name) => format!("ip netns exec {}", name.to_string_lossy()),
            None => format!("nsenter --net={}", self.path.display()),
        }
    }

    /// Whether the path still leads there. If not, nobody may have the namespace any more.
    pub fn is_there(&self) -> bool {
        inode(&self.path).is_ok_and(|inode| inode == self.inode)
    }
}

/// `qrouter-1`, or `net:[4026532177] of process 812`.
impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.strip_prefix(PROCESSES) {
            Ok(process) => {
                let process = process.iter().next().unwrap_or_default().to_string_lossy();
                write!(f, "net:[{}] of process {process}", self.inode.1)
            }
            Err(_) => write!(f, "{}", self.path.file_name().unwrap_or_default().to_string_lossy()),
        }
    }
}

fn inode(path: &Path) -> io::Result<Inode> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

/// All that there is a way into from here, each once.
pub fn all() -> Vec<Handle> {
    let named = named();
    let processes = of_processes(&named);
    named.into_iter().chain(processes).collect()
}

/// The namespaces with names, each once.
pub fn named() -> Vec<Handle> {
    let entries = FOLDERS.into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    each_once(entries.filter_map(|entry| Handle::of(entry.path())), &mut BTreeSet::new())
}

/// Those of processes, each once, without these.
pub fn of_processes(without: &[Handle]) -> Vec<Handle> {
    let processes = fs::read_dir(PROCESSES).into_iter().flatten().flatten();
    let processes = processes.filter(|entry| {
        entry.file_name().to_string_lossy().bytes().all(|character| character.is_ascii_digit())
    });
    let handles = processes.filter_map(|entry| Handle::of(entry.path().join("ns/net")));
    each_once(handles, &mut without.iter().map(|handle| handle.inode).collect())
}

fn each_once(handles: impl Iterator<Item = Handle>, known: &mut BTreeSet<Inode>) -> Vec<Handle> {
    handles.filter(|handle| known.insert(handle.inode)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::CURRENT;

    #[test]
    fn a_handle_leads_to_the_file_that_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("router");
        assert_eq!(Handle::of(&path), None);
        fs::write(&path, "").unwrap();
        let handle = Handle::of(&path).unwrap();
        assert!(handle.is_there() && handle.open().is_ok());
        assert_eq!(handle.to_string(), "router");
        assert_eq!(handle.command(), format!("nsenter --net={}", path.display()));
        // Another file, since the old one keeps its number as long as it is open.
        let _old = handle.open().unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(!handle.is_there() && handle.open().is_err());
    }

    #[test]
    fn the_namespaces_of_processes_are_found_once() {
        let own = Handle::of(CURRENT).unwrap();
        let found = of_processes(&[]);
        assert_eq!(found.iter().filter(|handle| handle.inode == own.inode).count(), 1);
        assert!(found.iter().all(|handle| handle.to_string().contains("] of process ")), "{found:?}");
        assert!(of_processes(std::slice::from_ref(&own)).iter().all(|handle| handle.inode != own.inode));
    }
}
