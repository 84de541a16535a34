//! The layout of every pinned map, so that none of another layout is ever misread: the kernel and aya check
//! neither.

use std::{io, path::Path};

use anyhow::{Error, Result, bail};
use aya::maps::{MapError, MapInfo, MapType};
use natbpf_common::{
    contract::{
        counter::Counters,
        edges::{Edge, MAX_EDGES},
        forwards::{External, ExternalKey, Forward, ForwardKey, MAX_POOLS, Pool},
        gauge::Gauge,
        rules::{DestinationKey, Rule, SourceKey},
        settings::Settings,
        trace::{Passing, Request, Spot},
        uplinks::Uplinks,
    },
    flow::{FlowEntry, FlowKey},
    nat::{
        fragment::{DATAGRAMS, Datagram, DatagramKey, IDENTIFICATIONS, PLACES, Place},
        mapping::{Endpoint, Mapping},
    },
    path::{handover::Handover, repeat::Repeat, reserved, set::Set},
    wire::family::{V4, V6},
};

use super::Pins;

/// Bytes of the prefix length before the data of a longest-prefix key.
const PREFIX: usize = size_of::<u32>();

/// What a map has to be.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Name below the pins.
    pub name: &'static str,
    /// Name in the object.
    pub object: &'static str,
    kind: MapType,
    key: usize,
    value: usize,
    /// Entries; `None` where the operator decides.
    entries: Option<u32>,
}

const fn layout<K, V>(name: &'static str, kind: MapType, entries: Option<u32>) -> Layout {
    let prefix = if matches!(kind, MapType::LpmTrie) { PREFIX } else { 0 };
    Layout { name, object: name, kind, key: prefix + size_of::<K>(), value: size_of::<V>(), entries }
}

/// A section of global variables, which is an array of one value.
const fn section<V>(name: &'static str, object: &'static str) -> Layout {
    Layout { object, ..layout::<u32, V>(name, MapType::Array, Some(1)) }
}

/// All maps that are pinned.
pub const MAPS: &[Layout] = &[
    layout::<FlowKey, FlowEntry>("FLOWS", MapType::Hash, None),
    layout::<Endpoint, Mapping>("MAPPINGS", MapType::Hash, None),
    layout::<u32, Uplinks>("UPLINKS", MapType::Array, Some(2)),
    layout::<SourceKey, Rule>("SOURCES", MapType::LpmTrie, None),
    layout::<DestinationKey, Rule>("DESTINATIONS", MapType::LpmTrie, None),
    layout::<ForwardKey, Forward>("FORWARDS", MapType::LpmTrie, None),
    layout::<ForwardKey, Forward>("REVERSE", MapType::LpmTrie, None),
    layout::<ExternalKey, External>("EXTERNALS", MapType::Hash, None),
    layout::<u32, Pool>("POOLS", MapType::Array, Some(MAX_POOLS)),
    layout::<u32, Edge>("EDGES", MapType::Hash, Some(MAX_EDGES)),
    layout::<u32, u64>("XDP_TARGETS", MapType::DevMapHash, Some(MAX_EDGES)),
    layout::<u32, Settings>("SETTINGS", MapType::Array, Some(1)),
    layout::<u32, u64>("GAUGES", MapType::Array, Some(Gauge::COUNT)),
    layout::<u32, Counters>("COUNTERS", MapType::PerCpuArray, Some(1)),
    layout::<(), ()>("EVENTS", MapType::RingBuf, None),
    layout::<DatagramKey, Datagram>("FRAGMENTS", MapType::LruHash, Some(DATAGRAMS as u32)),
    layout::<u32, Place>("KEPT", MapType::Array, Some(PLACES as u32)),
    layout::<u32, u64>("KEPT_NUMBER", MapType::Array, Some(1)),
    layout::<u32, u64>("IDENTIFICATIONS", MapType::Array, Some(IDENTIFICATIONS as u32)),
    layout::<(), ()>("NOTICES", MapType::RingBuf, None),
    layout::<u32, Set<V4>>("PATHS", MapType::Array, None),
    layout::<u32, Set<V6>>("PATHS6", MapType::Array, None),
    layout::<u32, Repeat>("REPEAT", MapType::Array, Some(1)),
    layout::<u32, u64>("RESERVED", MapType::Array, Some(reserved::ALL_WORDS)),
    layout::<u32, u32>("TURN", MapType::ProgramArray, Some(1)),
    layout::<u32, u32>("LEAVE", MapType::ProgramArray, Some(1)),
    section::<u32>("TRACED", ".data.TRACED"),
    layout::<u32, Request>("TRACE", MapType::Array, Some(1)),
    layout::<u32, Passing>("PASSING", MapType::PerCpuArray, Some(Spot::SLOTS as u32)),
    layout::<(), ()>("SIGHTS", MapType::RingBuf, None),
    // One program may tell a newer one, while programs are exchanged one after the other.
    layout::<u32, Handover>("HANDOVER", MapType::PerCpuArray, Some(1)),
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
