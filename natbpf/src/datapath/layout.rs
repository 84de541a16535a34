//! The layout of every pinned map, so that none of another layout is ever misread: the kernel and aya check
//! neither.

use std::{io, path::Path};

use anyhow::{Error, Result, bail};
use aya::maps::{MapError, MapInfo, MapType};
use natbpf_common::{
    contract::{
        counter::Counters,
        forwards::{External, ExternalKey, Forward, ForwardKey, MAX_POOLS, Pool},
        gauge::Gauge,
        inside::{InsidePort, MAX_PORTS},
        rules::{DestinationKey, Rule, SourceKey},
        settings::Settings,
        uplinks::Uplinks,
    },
    flow::{FlowEntry, FlowKey},
    nat::{
        fragment::{DATAGRAMS, Datagram, DatagramKey, IDENTIFICATIONS, PLACES, Place},
        mapping::{Endpoint, Mapping},
    },
    path::handover::Handover,
};

use super::Pins;

/// Bytes of the prefix length before the data of a longest-prefix key.
const PREFIX: usize = size_of::<u32>();

/// What a map has to be.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub name: &'static str,
    kind: MapType,
    key: usize,
    value: usize,
    /// Entries; `None` where the operator decides.
    entries: Option<u32>,
}

const fn layout(name: &'static str, kind: MapType, key: usize, value: usize, entries: Option<u32>) -> Layout {
    Layout { name, kind, key, value, entries }
}

/// All maps that are pinned.
pub const MAPS: &[Layout] = &[
    layout("FLOWS", MapType::Hash, size_of::<FlowKey>(), size_of::<FlowEntry>(), None),
    layout("MAPPINGS", MapType::Hash, size_of::<Endpoint>(), size_of::<Mapping>(), None),
    layout("UPLINKS", MapType::Array, 4, size_of::<Uplinks>(), Some(2)),
    layout("SOURCES", MapType::LpmTrie, PREFIX + size_of::<SourceKey>(), size_of::<Rule>(), None),
    layout("DESTINATIONS", MapType::LpmTrie, PREFIX + size_of::<DestinationKey>(), size_of::<Rule>(), None),
    layout("FORWARDS", MapType::LpmTrie, PREFIX + size_of::<ForwardKey>(), size_of::<Forward>(), None),
    layout("REVERSE", MapType::LpmTrie, PREFIX + size_of::<ForwardKey>(), size_of::<Forward>(), None),
    layout("EXTERNALS", MapType::Hash, size_of::<ExternalKey>(), size_of::<External>(), None),
    layout("POOLS", MapType::Array, 4, size_of::<Pool>(), Some(MAX_POOLS)),
    layout("PORTS", MapType::Hash, 4, size_of::<InsidePort>(), Some(MAX_PORTS)),
    layout("XDP_TARGETS", MapType::DevMapHash, 4, 8, Some(MAX_PORTS)),
    layout("SETTINGS", MapType::Array, 4, size_of::<Settings>(), Some(1)),
    layout("GAUGES", MapType::Array, 4, size_of::<u64>(), Some(Gauge::COUNT)),
    layout("COUNTERS", MapType::PerCpuArray, 4, size_of::<Counters>(), Some(1)),
    layout("EVENTS", MapType::RingBuf, 0, 0, None),
    layout(
        "FRAGMENTS",
        MapType::LruHash,
        size_of::<DatagramKey>(),
        size_of::<Datagram>(),
        Some(DATAGRAMS as u32),
    ),
    layout("KEPT", MapType::Array, 4, size_of::<Place>(), Some(PLACES as u32)),
    layout("KEPT_NUMBER", MapType::Array, 4, size_of::<u64>(), Some(1)),
    layout("IDENTIFICATIONS", MapType::Array, 4, size_of::<u64>(), Some(IDENTIFICATIONS as u32)),
    layout("NOTICES", MapType::RingBuf, 0, 0, None),
    layout("TURN", MapType::ProgramArray, 4, 4, Some(1)),
    // One program may tell a newer one, while programs are exchanged one after the other.
    layout("HANDOVER", MapType::PerCpuArray, 4, size_of::<Handover>(), Some(1)),
];

/// Checks what is pinned; what is not pinned yet is none of our business.
pub fn check(pins: &Pins) -> Result<()> {
    for expected in MAPS {
        let path = pins.path(expected.name);
        if !path.exists() {
            continue;
        }
        let info = MapInfo::from_pin(&path).map_err(|error| unreadable(&path, error))?;
        let fits = info.map_type().is_ok_and(|kind| kind == expected.kind)
            && info.key_size() as usize == expected.key
            && info.value_size() as usize == expected.value
            && expected.entries.is_none_or(|entries| entries == info.max_entries());
        if !fits {
            bail!(
                "the pinned map {} has another layout than this version of natbpf expects; \
                 remove the state with `natbpf detach` (its flows end) and start again",
                path.display()
            );
        }
    }
    Ok(())
}

fn unreadable(path: &Path, error: MapError) -> Error {
    let error = Error::new(error);
    let forbidden = error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    });
    let way_out = if forbidden { "; run natbpf as root" } else { "" };
    error.context(format!("cannot read the pinned map {}{way_out}", path.display()))
}
