//! Sysctls of a network namespace, and the counters that the kernel shows below `/proc/net`.

use std::{collections::BTreeMap, fs, path::Path};

const ROOT: &str = "/proc/sys/net";

/// Folders of settings that matter. What is not there is not known, as on kernels without a module.
const FOLDERS: [&str; 6] = ["ipv4", "ipv6", "ipv6/icmp", "bridge", "netfilter", "core"];
/// Those of each device that anybody asks for here: there are ninety, and a node of a cloud has hundreds of devices.
const DEVICES: [(&str, &[&str]); 2] = [
    (
        "ipv4/conf",
        &[
            "arp_filter",
            "arp_ignore",
            "forwarding",
            "proxy_arp",
            "proxy_arp_pvlan",
            "route_localnet",
            "rp_filter",
        ],
    ),
    ("ipv6/conf", &["accept_ra", "force_forwarding", "forwarding"]),
];
const COUNTERS: [&str; 2] = ["/proc/thread-self/net/snmp", "/proc/thread-self/net/netstat"];
const CONNTRACK: &str = "/proc/thread-self/net/stat/nf_conntrack";

/// What they are set to.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: BTreeMap<String, String>,
    counters: BTreeMap<String, u64>,
}

impl Settings {
    /// Those of the network namespace of the calling thread.
    pub fn look() -> Self {
        let mut settings = Self::default();
        for folder in FOLDERS {
            settings.read(folder);
        }
        for (folder, names) in DEVICES {
            let devices = fs::read_dir(Path::new(ROOT).join(folder)).into_iter().flatten().flatten();
            for device in devices {
                let device = device.file_name();
                for name in names {
                    settings.read_one(format!("{folder}/{}/{name}", device.to_string_lossy()));
                }
            }
        }
        for path in COUNTERS {
            settings.counters.extend(counters(&fs::read_to_string(path).unwrap_or_default()));
        }
        settings.counters.extend(conntrack(&fs::read_to_string(CONNTRACK).unwrap_or_default()));
        settings
    }

    fn read(&mut self, folder: &str) {
        for entry in fs::read_dir(Path::new(ROOT).join(folder)).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                self.read_one(format!("{folder}/{}", entry.file_name().to_string_lossy()));
            }
        }
    }

    fn read_one(&mut self, name: String) {
        if let Ok(value) = fs::read_to_string(Path::new(ROOT).join(&name)) {
            self.values.insert(name, value.trim().to_owned());
        }
    }

    /// The value of a sysctl, by its path below `/proc/sys/net`: `ipv4/ip_forward`.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.values.get(path).map(String::as_str)
    }

    /// The same where it is a number.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.get(path)?.parse().ok()
    }

    /// A setting of a device for IPv4: `of("eth0", "rp_filter")`. Other than by sysctl(8), dots in names are dots.
    pub fn of(&self, device: &str, name: &str) -> Option<u64> {
        debug_assert!(DEVICES[0].1.contains(&name), "{name} is not read");
        self.number(&format!("ipv4/conf/{device}/{name}"))
    }

    /// The larger of the device's and that of all, as the kernel reads `rp_filter` and `arp_ignore`.
    pub fn larger(&self, device: &str, name: &str) -> Option<u64> {
        self.of("all", name).max(self.of(device, name))
    }

    /// A counter: `TcpExt.ListenDrops`, `conntrack.insert_failed`.
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.counters.get(name).copied()
    }
}

/// `/proc/net/snmp` and `/proc/net/netstat`: a line of names and one of values, `Tcp: …`.
fn counters(text: &str) -> Vec<(String, u64)> {
    let lines: Vec<_> = text.lines().collect();
    let pairs = lines.chunks_exact(2).flat_map(|pair| {
        let (group, _) = pair[0].split_once(':').unwrap_or_default();
        let (names, values) = (pair[0].split_whitespace().skip(1), pair[1].split_whitespace().skip(1));
        names
            .zip(values)
            .filter_map(move |(name, value)| Some((format!("{group}.{name}"), value.parse().ok()?)))
    });
    pairs.collect()
}

/// `/proc/net/stat/nf_conntrack`: names, and then hexadecimal numbers, a line for each processor. The first column is
/// the same in each.
fn conntrack(text: &str) -> Vec<(String, u64)> {
    let mut lines = text.lines();
    let Some(names) = lines.next() else { return Vec::new() };
    let mut counts: Vec<(String, u64)> =
        names.split_whitespace().map(|name| (format!("conntrack.{name}"), 0)).collect();
    for line in lines {
        let values = line.split_whitespace().map(|value| u64::from_str_radix(value, 16).unwrap_or_default());
        for (place, value) in values.enumerate().take(counts.len()) {
            counts[place].1 = if place == 0 { value } else { counts[place].1 + value };
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_stand_below_their_names() {
        let text = "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcpExt: SyncookiesSent\nTcpExt: 3\n";
        let read = counters(text);
        assert_eq!(read[0], ("Ip.Forwarding".to_owned(), 1));
        assert_eq!(read[2], ("TcpExt.SyncookiesSent".to_owned(), 3));
    }

    #[test]
    fn those_of_conntrack_are_added_up_over_processors() {
        let read = conntrack("entries found insert_failed\n0000000a 1 2\n0000000a 10 0\n");
        assert_eq!(read[0], ("conntrack.entries".to_owned(), 10));
        assert_eq!(read[1], ("conntrack.found".to_owned(), 17));
        assert_eq!(read[2], ("conntrack.insert_failed".to_owned(), 2));
        assert!(conntrack("").is_empty());
    }

    #[test]
    fn the_larger_of_two_counts() {
        let values = [("ipv4/conf/all/rp_filter", "0"), ("ipv4/conf/eth0/rp_filter", "1")];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = Settings { values: values.into(), ..Settings::default() };
        assert_eq!(settings.larger("eth0", "rp_filter"), Some(1));
        assert_eq!(settings.larger("eth1", "rp_filter"), Some(0));
        assert_eq!(settings.larger("eth1", "arp_ignore"), None);
    }
}
