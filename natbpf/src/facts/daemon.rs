//! Processes that serve instances.

use std::{fs, os::unix::fs::MetadataExt as _};

/// Names of programs that are looked at.
const PROGRAMS: [&str; 6] = ["dnsmasq", "dhcpd", "kea-dhcp4", "udhcpd", "dockerd", "libvirtd"];

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Daemon {
    pub process: u32,
    pub program: String,
    pub arguments: Vec<String>,
    /// Number of the file that its network namespace is.
    pub namespace: u64,
}

/// Those of this host.
pub fn look() -> Vec<Daemon> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let daemon = |entry: fs::DirEntry| {
        let process = entry.file_name().to_string_lossy().parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let mut words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        let program = words.next()?.rsplit('/').next()?.to_owned();
        if !PROGRAMS.contains(&&*program) {
            return None;
        }
        let namespace = fs::metadata(entry.path().join("ns/net")).ok()?.ino();
        let arguments = words.filter(|word| !word.is_empty()).collect();
        Some(Daemon { process, program, arguments, namespace })
    };
    entries.filter_map(daemon).collect()
}
