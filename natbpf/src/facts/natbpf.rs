//! natbpf's own instances, by what they have pinned.

use std::{fs, net::Ipv4Addr, path::Path};

use anyhow::Result;
use natbpf_common::{
    contract::counter::{Counter, Counters, DropReason},
    flow::Direction,
};

use crate::{
    datapath::{Note, Pins, Role, Tables, attached},
    status::{LeftOutStatus, Noted as _, ObstacleStatus, Usage},
};

/// One of them.
#[derive(Debug, Default)]
pub struct Natbpf {
    pub name: String,
    /// A daemon has it.
    pub daemon: bool,
    /// What is pinned is of another version of natbpf, and says nothing to this one.
    pub foreign: bool,
    /// Cookie of its network namespace; 0: it has not said.
    pub namespace: u64,
    /// Indexes of the devices that it translates at, and the addresses that it has for each.
    pub uplinks: Vec<(u32, Vec<Ipv4Addr>)>,
    pub flows: Usage,
    /// Rules that have to see every packet.
    pub obstacles: Vec<ObstacleStatus>,
    pub left_out: Vec<LeftOutStatus>,
    counters: Option<Counters>,
}

impl Natbpf {
    /// How many packets were dropped for a reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.count(reason.counter())
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.counters.as_ref().map_or(0, |counters| counters[counter as usize])
    }

    /// Whether it translates at a device of a network namespace.
    pub fn translates_at(&self, namespace: u64, device: u32) -> bool {
        self.namespace == namespace && self.uplinks.iter().any(|(uplink, _)| *uplink == device)
    }
}

/// Those below a BPF file system, and what could not be looked at.
pub fn look(bpffs: &Path) -> (Vec<Natbpf>, Vec<String>) {
    let mut unseen = Vec::new();
    let folder = bpffs.join("natbpf");
    let mut found = Vec::new();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return (found, vec![format!("instances of natbpf: {}: {error}", folder.display())]);
        }
        Err(_) => return (found, unseen),
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match of(bpffs, &name) {
            Ok(instance) => found.extend(instance),
            Err(error) => unseen.push(format!("the instance {name} of natbpf: {error:#}")),
        }
    }
    (found, unseen)
}

fn of(bpffs: &Path, name: &str) -> Result<Option<Natbpf>> {
    let pins = Pins::new(bpffs, name);
    let mut natbpf = Natbpf { name: name.to_owned(), daemon: pins.locked()?, ..Natbpf::default() };
    if !pins.exist() {
        natbpf.foreign = pins.check_version().is_err();
        return Ok(natbpf.foreign.then_some(natbpf));
    }
    let tables = Tables::open(&pins)?;
    natbpf.namespace = tables.settings()?.netns;
    let known = tables.uplinks()?;
    let uplinks = attached(&pins)?.into_iter().filter(|(_, role)| *role == Role::Uplink);
    let addresses = |uplink| {
        let found = known.find(uplink).into_iter();
        let addresses = found.flat_map(|found| found.addresses.iter().take(found.address_count as usize));
        addresses.map(|address| address.local.into()).collect()
    };
    natbpf.uplinks = uplinks.map(|(uplink, _)| (uplink.number(), addresses(uplink))).collect();
    natbpf.flows.max = tables.max_entries()? / 2;
    tables.each_entry(|key, _| natbpf.flows.count += u64::from(key.direction() == Direction::Original))?;
    natbpf.obstacles = ObstacleStatus::of_note(Note::Obstacles.read(&pins));
    natbpf.left_out = LeftOutStatus::of_note(Note::LeftOut.read(&pins));
    natbpf.counters = Some(tables.counters()?);
    Ok(Some(natbpf))
}
