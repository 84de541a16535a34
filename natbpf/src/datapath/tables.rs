//! The maps, open. What is written in several steps has files of its own.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, PerCpuArray, xdp::DevMapHash};
use natbpf_common::{
    IfIndex, Timestamp,
    contract::{
        counter::{Counter, Counters},
        edges::Edge,
        forwards::{External, ExternalKey, Forward, ForwardKey, Pool},
        gauge::Gauge,
        rules::{DestinationKey, Rule, SourceKey},
        settings::Settings,
        uplinks::Uplinks,
    },
    flow::{FlowEntry, FlowKey},
    nat::mapping::{Endpoint, Mapping},
    path::repeat::Repeat,
};

use super::{Loaded, Pins, Scan, layout, pins::open, scan};

/// The pinned maps of an instance. Reading needs no daemon.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct Tables {
    pub(super) flows: MapData,
    pub(super) mappings: MapData,
    pub(super) uplinks: Array<MapData, Uplinks>,
    pub(super) sources: LpmTrie<MapData, SourceKey, Rule>,
    pub(super) destinations: LpmTrie<MapData, DestinationKey, Rule>,
    pub(super) forwards: LpmTrie<MapData, ForwardKey, Forward>,
    pub(super) reverse: LpmTrie<MapData, ForwardKey, Forward>,
    pub(super) externals: HashMap<MapData, ExternalKey, External>,
    pub(super) pools: Array<MapData, Pool>,
    pub(super) edges: HashMap<MapData, IfIndex, Edge>,
    pub(super) repeat: Array<MapData, Repeat>,
    pub(super) paths: MapData,
    pub(super) paths6: MapData,
    pub(super) targets: DevMapHash<MapData>,
    pub(super) settings: Array<MapData, Settings>,
    pub(super) gauges: Array<MapData, u64>,
    pub(super) counters: PerCpuArray<MapData, Counters>,
}

impl Tables {
    /// Opens the maps that are pinned.
    pub fn open(pins: &Pins) -> Result<Self> {
        if !pins.exist() {
            bail!(
                "natbpf is not attached: nothing is pinned at {}; start it with `natbpf run` or `natbpf masquerade`, \
                 or name the right --netns, --instance or --bpffs",
                pins.folder().display()
            );
        }
        pins.check_version()?;
        layout::check(pins)?;
        Self::from_maps(|name| open(&pins.path(name)))
    }

    /// Takes the maps of programs that are not pinned.
    pub fn of(loaded: &mut Loaded) -> Result<Self> {
        Self::from_maps(|name| loaded.take_map(name))
    }

    fn from_maps(mut map: impl FnMut(&str) -> Result<MapData>) -> Result<Self> {
        Ok(Self {
            flows: map("FLOWS")?,
            mappings: map("MAPPINGS")?,
            uplinks: Array::try_from(Map::Array(map("UPLINKS")?))?,
            sources: LpmTrie::try_from(Map::LpmTrie(map("SOURCES")?))?,
            destinations: LpmTrie::try_from(Map::LpmTrie(map("DESTINATIONS")?))?,
            forwards: LpmTrie::try_from(Map::LpmTrie(map("FORWARDS")?))?,
            reverse: LpmTrie::try_from(Map::LpmTrie(map("REVERSE")?))?,
            externals: HashMap::try_from(Map::HashMap(map("EXTERNALS")?))?,
            pools: Array::try_from(Map::Array(map("POOLS")?))?,
            edges: HashMap::try_from(Map::HashMap(map("EDGES")?))?,
            repeat: Array::try_from(Map::Array(map("REPEAT")?))?,
            paths: map("PATHS")?,
            paths6: map("PATHS6")?,
            targets: DevMapHash::try_from(Map::DevMapHash(map("XDP_TARGETS")?))?,
            settings: Array::try_from(Map::Array(map("SETTINGS")?))?,
            gauges: Array::try_from(Map::Array(map("GAUGES")?))?,
            counters: PerCpuArray::try_from(Map::PerCpuArray(map("COUNTERS")?))?,
        })
    }

    pub fn settings(&self) -> Result<Settings> {
        self.settings.get(&0, 0).context("cannot read the settings of the datapath")
    }

    pub fn set_settings(&mut self, settings: Settings) -> Result<()> {
        self.settings.set(0, settings, 0).context("cannot write the settings of the datapath")
    }

    pub fn uplinks(&self) -> Result<Uplinks> {
        self.uplinks.get(&self.active_uplinks()?, 0).context("cannot read the uplinks of the datapath")
    }

    /// Writes the value that does not count, then makes it count.
    pub fn set_uplinks(&mut self, uplinks: Uplinks) -> Result<()> {
        let other = self.active_uplinks()? ^ 1;
        self.uplinks.set(other, uplinks, 0).context("cannot write the uplinks of the datapath")?;
        self.set_gauge(Gauge::Uplinks, u64::from(other))
    }

    fn active_uplinks(&self) -> Result<u32> {
        Ok(u32::from(self.gauge(Gauge::Uplinks)? != 0))
    }

    pub fn gauge(&self, gauge: Gauge) -> Result<u64> {
        self.gauges.get(&(gauge as u32), 0).context("cannot read the gauges of the datapath")
    }

    /// Has the datapath write flow events until a time of its clock.
    pub fn watch_until(&mut self, time: Timestamp) -> Result<()> {
        self.set_gauge(Gauge::WatchUntil, time.number())
    }

    /// [`Gauge::Epoch`]
    pub fn epoch(&self) -> Result<u32> {
        Ok(self.gauge(Gauge::Epoch)? as u32)
    }

    /// For what only the datapath writes, this is a tool of tests.
    pub fn set_gauge(&mut self, gauge: Gauge, value: u64) -> Result<()> {
        self.gauges.set(gauge as u32, value, 0).context("cannot write the gauges of the datapath")
    }

    /// The sum over all processors, by counter. Row O08.
    pub fn counters(&self) -> Result<Counters> {
        let processors = self.counters.get(&0, 0).context("cannot read the counters of the datapath")?;
        let mut sum = [0; Counter::COUNT];
        for counters in processors.iter() {
            for (sum, counter) in sum.iter_mut().zip(counters) {
                *sum += counter;
            }
        }
        Ok(sum)
    }

    /// Calls back for every entry of the flow table, in no order. Entries made or removed meanwhile may be
    /// missed or seen.
    pub fn each_entry(&self, each: impl FnMut(&FlowKey, &FlowEntry)) -> Result<()> {
        scan::scan(self.flows.fd().as_fd(), each).context("cannot read the flow table")
    }

    /// The same for the mappings.
    pub fn each_mapping(&self, each: impl FnMut(&Endpoint, &Mapping)) -> Result<()> {
        scan::scan(self.mappings.fd().as_fd(), each).context("cannot read the table of mappings")
    }

    /// As [`Tables::each_entry`] for some thousands of them; true: these were the last ones.
    pub fn some_entries(
        &self,
        scan: &mut Scan<FlowKey, FlowEntry>,
        each: impl FnMut(&FlowKey, &FlowEntry),
    ) -> Result<bool> {
        scan.slice(self.flows.fd().as_fd(), each).context("cannot read the flow table")
    }

    /// The same for the mappings.
    pub fn some_mappings(
        &self,
        scan: &mut Scan<Endpoint, Mapping>,
        each: impl FnMut(&Endpoint, &Mapping),
    ) -> Result<bool> {
        scan.slice(self.mappings.fd().as_fd(), each).context("cannot read the table of mappings")
    }

    /// Entries of the flow table: a flow has two.
    pub fn max_entries(&self) -> Result<u64> {
        Ok(u64::from(self.flows.info()?.max_entries()))
    }

    pub fn max_mappings(&self) -> Result<u64> {
        Ok(u64::from(self.mappings.info()?.max_entries()))
    }
}
