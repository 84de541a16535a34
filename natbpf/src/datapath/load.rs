//! Loading the object, with the maps that are pinned already.

use std::{fs, sync::LazyLock};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, ProgramArray},
    programs::{Program, ProgramError, SchedClassifier, Xdp},
};
use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;

use natbpf_common::path::set::WAYS;

use super::{Hook, Pins, btf::Types, layout, sys::if_there};

/// The object that natbpf-ebpf is built to; empty in a build without it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/datapath"));

/// The object, for tests that look into it.
pub fn object() -> &'static [u8] {
    OBJECT
}

/// Name of the XDP program of edges.
const XDP: &str = "edge_xdp";

/// Name of the program that removes flows.
pub const REAP: &str = "reap";

/// Sizes of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Entries of the flow table: two a flow.
    pub entries: u32,
    pub mappings: u32,
}

impl Sizes {
    /// For so many flows at a time. Nearly every flow may have an endpoint of its own, and some of them need
    /// a second entry to be found by.
    pub const fn of(max_flows: u32) -> Self {
        Self { entries: max_flows * 2, mappings: max_flows + max_flows / 4 }
    }

    /// How many of the flows that began last are remembered, for early drop: a power of two.
    fn latest(self) -> u32 {
        (self.entries / 2).next_power_of_two().clamp(1 << 15, 1 << 24)
    }

    /// Sets of the table of paths, with room for both directions of each flow.
    fn sets(self) -> u32 {
        (self.entries / WAYS as u32).next_power_of_two().max(1 << 7)
    }

    /// The same of IPv6, which has no flow table.
    fn sets6(self) -> u32 {
        (self.sets() / 4).max(1 << 7)
    }
}

/// Programs in the kernel, not attached yet.
#[derive(Debug)]
pub struct Loaded {
    ebpf: Ebpf,
}

impl Loaded {
    /// Loads the programs, takes over the pinned maps, and makes and pins those that are missing. Row M26.
    pub fn load(pins: &Pins, sizes: Sizes) -> Result<Self> {
        let mask = sizes.latest() - 1;
        let mut loader = loader(sizes, &mask);
        pins.check_version()?;
        layout::check(pins)?;
        pins.create()?;
        for map in layout::MAPS {
            loader.map_pin_path(map.object, pins.path(map.name));
        }
        Self::with(loader)
    }

    /// Loads the programs and makes maps that nobody else sees: for tests.
    pub fn load_unpinned(sizes: Sizes) -> Result<Self> {
        let mask = sizes.latest() - 1;
        Self::with(loader(sizes, &mask))
    }

    fn with(mut loader: EbpfLoader<'_>) -> Result<Self> {
        if OBJECT.is_empty() {
            bail!(
                "this natbpf was built without its BPF programs (NATBPF_EBPF=stub); build it again without that variable, \
                 for instance by `cargo xtask build`"
            );
        }
        let mut ebpf = loader.load(OBJECT).context(
            "the kernel refused a map of the datapath; if memory is short, ask for fewer flows (max_flows)",
        )?;
        for (name, program) in ebpf.programs_mut() {
            let loaded = match program {
                Program::SchedClassifier(program) => program.load(),
                Program::Xdp(program) => program.load(),
                _ => bail!("{name} is a program of an unknown kind"),
            };
            loaded.map_err(|error| explain(name, error))?;
        }
        let mut loaded = Self { ebpf };
        loaded.join("TURN", "uplink_turn")?;
        loaded.join("LEAVE", "leave")?;
        Ok(loaded)
    }

    /// Writes the datapath's log of single packets into ours, if the programs were loaded with it: at `-vv`.
    /// Needs a tokio runtime.
    pub fn follow_log(&mut self) -> Result<()> {
        if *log_level() == 0 {
            return Ok(());
        }
        let logger = EbpfLogger::init(&mut self.ebpf).context("cannot open the log of the datapath")?;
        // SAFETY: the logger owns its descriptor, so it stays open and the same as long as it is registered.
        let mut logger =
            unsafe { AsyncFd::register(logger) }.context("cannot wait for the log of the datapath")?;
        tokio::spawn(async move {
            while let Ok(mut ready) = logger.readable_mut().await {
                ready.get_inner_mut().flush();
                ready.clear_ready();
            }
        });
        Ok(())
    }

    /// Tells the egress program of uplinks with which program it goes on.
    fn join(&mut self, map: &str, name: &str) -> Result<()> {
        let next = self.program(name)?.fd()?.try_clone()?;
        let map = self.ebpf.map_mut(map).with_context(|| format!("the object has no map {map}"))?;
        ProgramArray::try_from(map)?.set(0, &next, 0).with_context(|| format!("cannot go on with {name}"))
    }

    /// A program of the object.
    pub fn program(&mut self, name: &str) -> Result<&mut SchedClassifier> {
        self.named(name)?.try_into().with_context(|| format!("{name} is no TC program"))
    }

    fn named(&mut self, name: &str) -> Result<&mut Program> {
        self.ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))
    }

    pub fn hook(&mut self, hook: Hook) -> Result<&mut SchedClassifier> {
        self.program(hook.program())
    }

    /// The XDP program of edges.
    pub(super) fn xdp(&mut self) -> Result<&mut Xdp> {
        self.named(XDP)?.try_into().with_context(|| format!("{XDP} is no XDP program"))
    }

    /// Pins the program that removes flows, in the place of an older one.
    pub fn pin_reaper(&mut self, pins: &Pins) -> Result<()> {
        let path = pins.path(REAP);
        if_there(fs::remove_file(&path)).with_context(|| format!("cannot replace {}", path.display()))?;
        self.program(REAP)?.pin(&path).with_context(|| format!("cannot pin {}", path.display()))
    }

    /// Takes a map out of the loaded object; the programs keep it alive.
    pub(super) fn take_map(&mut self, name: &str) -> Result<MapData> {
        match self.ebpf.take_map(name) {
            Some(
                Map::HashMap(map)
                | Map::Array(map)
                | Map::LpmTrie(map)
                | Map::PerCpuArray(map)
                | Map::DevMapHash(map),
            ) => Ok(map),
            _ => bail!("the object has no map {name}"),
        }
    }

    /// The loaded object, for tests that look at maps and run programs.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }
}

fn loader(sizes: Sizes, latest_mask: &u32) -> EbpfLoader<'_> {
    let mut loader = EbpfLoader::new();
    loader
        .map_max_entries("FLOWS", sizes.entries)
        .map_max_entries("LATEST", sizes.latest())
        .override_global("LATEST_MASK", latest_mask, true)
        .map_max_entries("MAPPINGS", sizes.mappings)
        .map_max_entries("PATHS", sizes.sets())
        .map_max_entries("PATHS6", sizes.sets6())
        .override_global("AYA_LOG_LEVEL", log_level(), true)
        .override_global("NFCT_OFFSET", &offsets().connection, true)
        .override_global("REDIRECT_CONTEXT", &offsets().redirect_context, true)
        .override_global("REDIRECT_TARGET", &offsets().redirect_target, true);
    loader
}

/// Where things stand in structures of the kernel; 0: not known. With the first of a kind at 0 the programs do not read
/// the kernel's memory, which is more than that: the verifier refuses those that could where it is forbidden.
#[derive(Clone, Copy, Debug, Default)]
struct Offsets {
    /// A packet's connection, in `sk_buff`.
    connection: u32,
    /// Where the kernel notes which device a packet is redirected to: the context in `task_struct`, and in that the
    /// device. Since Linux 6.11.
    redirect_context: u32,
    redirect_target: u32,
}

fn offsets() -> &'static Offsets {
    static OFFSETS: LazyLock<Offsets> = LazyLock::new(|| {
        let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
        if lockdown.contains("[confidentiality]") {
            return Offsets::default();
        }
        let Some(types) = Types::of_kernel() else { return Offsets::default() };
        let (redirect_context, redirect_target) = redirect(&types).unwrap_or_default();
        let connection = types.offset("sk_buff", "_nfct").unwrap_or_default();
        Offsets { connection, redirect_context, redirect_target }
    });
    &OFFSETS
}

fn redirect(types: &Types) -> Option<(u32, u32)> {
    let context = types.offset("task_struct", "bpf_net_context")?;
    let info = types.offset("bpf_net_context", "ri")?;
    Some((context, info + types.offset("bpf_redirect_info", "tgt_index")?))
}

/// The level of the datapath's log, of which there is one: each dropped packet, at `debug`.
fn log_level() -> &'static u8 {
    const OFF: &u8 = &0;
    const DEBUG: &u8 = &4;
    if tracing::enabled!(tracing::Level::TRACE) { DEBUG } else { OFF }
}

/// The verifier's log is for developers; the operator gets its last line before the statistics.
fn explain(name: &str, error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let statistics = ["processed", "stack depth", "verification time"];
            let reason =
                |line: &&str| !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start));
            let last = log.lines().rev().find(reason).unwrap_or_default();
            tracing::debug!("the verifier's log of {name}: {log}");
            anyhow::anyhow!(
                "the kernel refused the program {name}: {io_error} ({last}); natbpf needs Linux 6.1 or newer"
            )
        }
        other => anyhow::Error::new(other).context(format!("the kernel refused the program {name}")),
    }
}
