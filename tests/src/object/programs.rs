//! Loaded programs with their maps. The verifier takes its time with them, so tests hand them on, emptied.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};
use std::thread;

use aya::Pod;
use aya::maps::{HashMap, Map, MapData};
use natbpf::datapath::{Loaded, Sizes, Tables};
use natbpf_common::config::Gauge;
use natbpf_common::flow::{FlowEntry, FlowKey};
use natbpf_common::mapping::{Endpoint, Mapping};

/// Those that no test has at the moment.
static IDLE: Mutex<Vec<Programs>> = Mutex::new(Vec::new());

pub(super) struct Programs {
    sizes: Sizes,
    pub(super) loaded: Loaded,
    pub(super) tables: Tables,
    /// Second handles of what `tables` has, to write.
    pub(super) flows: HashMap<MapData, FlowKey, FlowEntry>,
    pub(super) mappings: HashMap<MapData, Endpoint, Mapping>,
}

impl Programs {
    fn load(sizes: Sizes) -> Self {
        let mut loaded = Loaded::load_unpinned(sizes).expect("the object loads");
        let flows = second_handle(&mut loaded, "FLOWS");
        let mappings = second_handle(&mut loaded, "MAPPINGS");
        let tables = Tables::of(&mut loaded).expect("the object has all maps");
        Self { sizes, loaded, tables, flows, mappings }
    }

    fn clear(&mut self) {
        clear(&mut self.flows);
        clear(&mut self.mappings);
        self.tables.set_gauge(Gauge::HostMoved, 0).expect("the gauges");
    }
}

fn second_handle<K: Pod, V: Pod>(loaded: &mut Loaded, name: &str) -> HashMap<MapData, K, V> {
    let Some(Map::HashMap(map)) = loaded.ebpf().map(name) else { panic!("no map {name}") };
    let info = map.info().expect("the map's description");
    let map = MapData::from_id(info.id()).expect("the map by its number");
    HashMap::try_from(Map::HashMap(map)).expect("a map of this layout")
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
