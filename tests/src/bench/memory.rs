//! How much memory a flow takes.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use natbpf_common::path::set::WAYS;

use super::side::{Kind, Side};
use crate::addresses::Family;
use crate::gateway::natbpf::INSTANCE;
use crate::netns::isolate::bpffs;

/// Bytes a flow. For natbpf's own NAT: its tables, whose memory is there from the start, by how many flows they hold.
/// For what accelerates: a path each way. For netfilter: the object of a connection, without its extensions and its
/// place in the hash table.
pub fn of_a_flow(side: &Side, max_flows: u32) -> Result<f64> {
    if side.kind == Kind::Iptables {
        let text = fs::read_to_string("/proc/slabinfo").context("cannot read /proc/slabinfo")?;
        let size = object_size(&text, "nf_conntrack").context("/proc/slabinfo has no nf_conntrack")?;
        return Ok(size as f64);
    }
    let tables = tables()?;
    if side.kind.is_accelerate() {
        let name = if side.setting.family == Family::V6 { "PATHS6" } else { "PATHS" };
        let paths = tables.iter().find(|table| table.name == name);
        let paths = paths.with_context(|| format!("natbpf has no table {name}"))?;
        return Ok(2.0 * paths.memory as f64 / (paths.entries * WAYS as u64) as f64);
    }
    // Others do not grow with the flows. The entries of the tables of paths are sets of them.
    let grows = |table: &&Table| table.entries >= u64::from(max_flows) || table.name.starts_with("PATHS");
    let memory: u64 = tables.iter().filter(grows).map(|table| table.memory).sum();
    ensure!(memory > 0, "natbpf has no table of flows");
    Ok(memory as f64 / f64::from(max_flows))
}

/// A map that is pinned.
struct Table {
    name: String,
    entries: u64,
    /// In bytes, as the kernel accounts for it.
    memory: u64,
}

fn tables() -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    for version in list(&bpffs().join("natbpf").join(INSTANCE))? {
        for pin in list(&version)? {
            let Ok(object) = MapData::from_pin(&pin) else { continue };
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", object.fd().as_fd().as_raw_fd()))?;
            // Programs and links are pinned there, too.
            if field(&info, "map_type").is_none() {
                continue;
            }
            let field = |name| field(&info, name).with_context(|| format!("{}: no {name}", pin.display()));
            let name = pin.file_name().unwrap_or_default().to_string_lossy().into_owned();
            tables.push(Table { name, entries: field("max_entries")?, memory: field("memlock")? });
        }
    }
    Ok(tables)
}

fn list(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// A number of `/proc/PID/fdinfo/FD`.
fn field(info: &str, name: &str) -> Option<u64> {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}

/// The size of the objects of a cache, from `/proc/slabinfo`.
fn object_size(slabinfo: &str, cache: &str) -> Option<u64> {
    let line = slabinfo.lines().find(|line| line.split_whitespace().next() == Some(cache))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_texts_are_read() {
        let info = "pos:\t0\nmap_type:\t1\nmax_entries:\t2400000\nmemlock:\t395000000\n";
        assert_eq!(field(info, "memlock"), Some(395_000_000));
        assert_eq!(field(info, "max_entries"), Some(2_400_000));
        assert_eq!(field(info, "lock"), None);
        let slabs = "slabinfo - version: 2.1\n\
                     # name <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>\n\
                     nf_conntrack_expect 0 0 208 19 1 : tunables 0 0 0\n\
                     nf_conntrack 80 144 256 16 1 : tunables 0 0 0\n";
        assert_eq!(object_size(slabs, "nf_conntrack"), Some(256));
        assert_eq!(object_size(slabs, "nf_conn"), None);
    }
}
