//! Loaded programs with their maps. The verifier takes its time with them, so tests hand them on, emptied.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};
use std::thread;

use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::xdp::DevMapHash;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues, RingBuf};
use aya::util::nr_cpus;
use natbpf::datapath::{Loaded, ReservedTable, Sizes, Tables};
use natbpf_common::contract::{
    forwards::{External, ExternalKey, Forward, ForwardKey, Pool},
    gauge::Gauge,
};
use natbpf_common::flow::{FlowEntry, FlowKey};
use natbpf_common::nat::fragment::{Datagram, DatagramKey, PLACES, Place};
use natbpf_common::nat::mapping::{Endpoint, Mapping};
use natbpf_common::nat::pending::Pending;
use natbpf_common::path::handover::Handover;
use natbpf_common::path::passage::Passage;
use natbpf_common::path::set::Set;
use zerocopy::FromZeros as _;

use super::marked::Marked;

/// Those that no test has at the moment.
static IDLE: Mutex<Vec<Programs>> = Mutex::new(Vec::new());

pub(super) struct Programs {
    sizes: Sizes,
    pub(super) loaded: Loaded,
    pub(super) tables: Tables,
    /// Second handles of what `tables` has, to write.
    pub(super) flows: HashMap<MapData, FlowKey, FlowEntry>,
    pub(super) mappings: HashMap<MapData, Endpoint, Mapping>,
    pub(super) datagrams: HashMap<MapData, DatagramKey, Datagram>,
    pub(super) pending: HashMap<MapData, FlowKey, Pending>,
    kept: Array<MapData, Place>,
    refusals: Array<MapData, u64>,
    pub(super) passages: Array<MapData, Passage>,
    pub(super) claims: Array<MapData, [u64; 8]>,
    /// Whether anything may have been noted.
    pub(super) repeats: bool,
    pub(super) marked: Marked,
    pub(super) paths: Array<MapData, Set>,
    handover: PerCpuArray<MapData, Handover>,
    pub(super) reserved: ReservedTable,
    pub(super) forwards: LpmTrie<MapData, ForwardKey, Forward>,
    pub(super) externals: HashMap<MapData, ExternalKey, External>,
    pub(super) pools: Array<MapData, Pool>,
    pub(super) notices: RingBuf<MapData>,
    pub(super) xdp_targets: DevMapHash<MapData>,
}

impl Programs {
    fn load(sizes: Sizes) -> Self {
        let mut loaded = Loaded::load_unpinned(sizes).expect("the object loads");
        let flows = hash_map(&mut loaded, "FLOWS");
        let mappings = hash_map(&mut loaded, "MAPPINGS");
        let externals = hash_map(&mut loaded, "EXTERNALS");
        let forwards = LpmTrie::try_from(Map::LpmTrie(second_handle(&mut loaded, "FORWARDS")));
        let pools = Array::try_from(Map::Array(second_handle(&mut loaded, "POOLS")));
        let notices = RingBuf::try_from(Map::RingBuf(second_handle(&mut loaded, "NOTICES")));
        let datagrams = hash_map(&mut loaded, "FRAGMENTS");
        let xdp_targets = DevMapHash::try_from(Map::DevMapHash(second_handle(&mut loaded, "XDP_TARGETS")));
        let pending = hash_map(&mut loaded, "PENDING");
        let kept = array(&mut loaded, "KEPT");
        let refusals = array(&mut loaded, "REFUSALS");
        let passages = array(&mut loaded, "PASSAGES");
        let claims = array(&mut loaded, "CLAIMS");
        let paths = Array::try_from(Map::Array(second_handle(&mut loaded, "PATHS")));
        let marked = Marked::load(&mut loaded);
        let handover = PerCpuArray::try_from(loaded.ebpf().take_map("HANDOVER").expect("the object has it"));
        Self {
            sizes,
            datagrams,
            pending,
            kept,
            refusals,
            passages,
            claims,
            repeats: false,
            marked,
            paths: paths.expect("a map of this layout"),
            handover: handover.expect("a map of this layout"),
            flows,
            mappings,
            externals,
            reserved: ReservedTable::of(&mut loaded).expect("the object has it"),
            forwards: forwards.expect("a map of this layout"),
            pools: pools.expect("a map of this layout"),
            notices: notices.expect("a ring buffer"),
            xdp_targets: xdp_targets.expect("a map of this layout"),
            tables: Tables::of(&mut loaded).expect("the object has all maps"),
            loaded,
        }
    }

    fn clear(&mut self) {
        clear(&mut self.flows);
        clear(&mut self.mappings);
        clear(&mut self.datagrams);
        let free = Place::new_zeroed();
        (0..PLACES as u32).for_each(|place| self.kept.set(place, free, 0).expect("a place"));
        clear(&mut self.externals);
        let forwards: Vec<Key<ForwardKey>> =
            self.forwards.keys().collect::<Result<_, _>>().expect("the keys of a map");
        forwards.iter().for_each(|key| self.forwards.remove(key).expect("a key of the map"));
        self.tables.replace_reverse(&[]).expect("the forwards as seen from inside");
        while self.notices.next().is_some() {}
        clear(&mut self.pending);
        self.forget_refusals();
        self.forget_paths();
        self.reserved.write(&[]).expect("it can be written");
        self.say(Handover::default());
        // What `LATEST` remembers counts by these alone.
        for gauge in [Gauge::HostMoved, Gauge::Epoch, Gauge::StrangersUntil, Gauge::Begun, Gauge::LookedAt] {
            self.tables.set_gauge(gauge, 0).expect("the gauges");
        }
        let mut settings = self.tables.settings().expect("the settings");
        settings.host_share = 0;
        self.tables.set_settings(settings).expect("the settings can be set");
    }

    /// Every search for a port is made again.
    pub(super) fn forget_refusals(&mut self) {
        if self.tables.gauge(Gauge::Refused).expect("the gauges") == 0 {
            return;
        }
        self.tables.set_gauge(Gauge::Refused, 0).expect("the gauges");
        (0..self.refusals.len()).for_each(|place| self.refusals.set(place, 0, 0).expect("a place"));
    }

    fn forget_paths(&mut self) {
        if !std::mem::take(&mut self.repeats) {
            return;
        }
        (0..self.paths.len()).for_each(|set| self.paths.set(set, Set::default(), 0).expect("a set"));
    }

    /// What the programs say to each other of the next packet, on every processor.
    pub(super) fn say(&mut self, handover: Handover) {
        let everywhere = vec![handover; nr_cpus().expect("the number of processors")];
        let everywhere = PerCpuValues::try_from(everywhere).expect("one for each processor");
        self.handover.set(0, everywhere, 0).expect("it can be written");
    }
}

fn second_handle(loaded: &mut Loaded, name: &str) -> MapData {
    let info = match loaded.ebpf().map(name) {
        Some(
            Map::HashMap(map)
            | Map::LruHashMap(map)
            | Map::LpmTrie(map)
            | Map::Array(map)
            | Map::DevMapHash(map)
            | Map::RingBuf(map),
        ) => map.info(),
        _ => panic!("no map {name}"),
    };
    MapData::from_id(info.expect("the map's description").id()).expect("the map by its number")
}

fn array<V: Pod>(loaded: &mut Loaded, name: &str) -> Array<MapData, V> {
    let map = loaded.ebpf().take_map(name).expect("the object has it");
    Array::try_from(map).expect("a map of this layout")
}

fn hash_map<K: Pod, V: Pod>(loaded: &mut Loaded, name: &str) -> HashMap<MapData, K, V> {
    HashMap::try_from(Map::HashMap(second_handle(loaded, name))).expect("a map of this layout")
}

fn clear<K: Pod, V: Pod>(map: &mut HashMap<MapData, K, V>) {
    let keys: Vec<K> = map.keys().collect::<Result<_, _>>().expect("the keys of a map");
    keys.iter().for_each(|key| map.remove(key).expect("a key of the map"));
}

/// Programs that one test has to itself.
pub(super) struct Lease(Option<Programs>);

impl Lease {
    pub(super) fn new(sizes: Sizes) -> Self {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle.iter().position(|programs| programs.sizes == sizes).map(|place| idle.remove(place));
        drop(idle);
        Self(Some(found.unwrap_or_else(|| Programs::load(sizes))))
    }
}

impl Deref for Lease {
    type Target = Programs;

    fn deref(&self) -> &Programs {
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Programs {
        self.0.as_mut().expect("there until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A test that has failed may have left anything.
        if let Some(mut programs) = self.0.take()
            && !thread::panicking()
        {
            programs.clear();
            IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(programs);
        }
    }
}
