//! Packets at the speed of the kernel: a generator at one end of the path, an instance or the outside, and a sink at
//! the other.
//!
//! The generator is an XDP program that the kernel runs on live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`) and
//! whose packets it sends to the host as if that end had. One processor does it all: it makes a batch, takes it
//! through the host and drops it at the other end, and then makes the next. So nothing is lost for want of room in
//! a queue, and the time for a number of packets is the cost of the path.

mod order;
mod sequence;
pub mod tags;

use std::mem;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::tc::qdisc_add_clsact;
use aya::programs::{SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, TestRun, TestRunAttrs, TestRunOptions};
use natbpf_common::Port;
use natbpf_gear::{FRAME, FRAME6, Received, Workload};

use crate::addresses::Family;
use crate::netns::Namespace;
use crate::topology::{Site, Sources, lead_workloads};

pub use order::Order;

pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/generator"));

/// Frames made at a time; far fewer than a veth's queue holds.
const BATCH: u32 = 64;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the instance to the outside.
    Original,
    /// From the outside to the instance.
    Reply,
}

/// Generators and sinks at the ends of a site.
pub struct Traffic {
    object: Ebpf,
    options: Options,
    sources: Sources,
    /// For how many flows the sequence has been written.
    in_sequence: Option<u32>,
    /// The ends of both directions.
    ends: [End; 2],
}

/// Where the generator of a direction is.
#[derive(Clone, Copy, Debug)]
struct End {
    /// Its interface, by index.
    interface: u32,
    /// From it to its next hop.
    ethernet: [u16; 7],
}

impl std::fmt::Debug for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Traffic").field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// What became of the packets of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub sent: u64,
    /// Arrived from the gateway's address; replies: to an instance's.
    pub translated: u64,
    /// Arrived otherwise.
    pub untranslated: u64,
    pub took: Duration,
}

/// What there is to be.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub family: Family,
    /// The address that packets should come from when they arrive; unspecified: nothing translates. It stands for the
    /// node's address in the family.
    pub external: Ipv4Addr,
    pub sink: Sink,
    /// The order of [`Traffic::run_in_order`], and how many flows that has at most.
    pub order: Order,
    pub most_flows: u32,
}

impl Options {
    /// IPv4, as the flows were created.
    pub const fn of(external: Ipv4Addr) -> Self {
        Self { family: Family::V4, external, sink: Sink::Outside, order: Order::Created, most_flows: 1 }
    }
}

/// Where packets are counted and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// At the TC hook of the outside alone.
    Outside,
    /// At the TC hooks of both ends, which are instances.
    Instances,
    /// By XDP outside, and at the TC hook of the instance: an XDP program at that end of a veth would switch
    /// off segmentation at the other, and natbpf then sends nothing past it.
    Instance,
    /// As early as possible, at both ends: by XDP, and at the TC hook what a peer redirect brings, which XDP does
    /// not see.
    Both,
}

impl Run {
    /// Nanoseconds a packet.
    pub fn cost(&self) -> f64 {
        self.took.as_secs_f64() * 1e9 / self.sent as f64
    }
}

impl Traffic {
    /// Readies a site. `external` is the address that packets should come from when they arrive.
    pub fn new(site: &dyn Site, external: Ipv4Addr) -> Result<Self> {
        Self::with(site, Options::of(external))
    }

    /// As [`Traffic::new`], with all that can differ.
    pub fn with(site: &dyn Site, options: Options) -> Result<Self> {
        ensure!(
            !OBJECT.is_empty(),
            "the generator was not built (NATBPF_EBPF=stub); build without that variable"
        );
        let ends = [site.inside(), site.outside()];
        // Frames are taken in only where the far end has NAPI, which GRO switches on.
        for end in ends {
            site.host().cmd("ethtool").args(["-K", end.edge, "gro", "on"]).run()?;
        }
        lead_workloads(site, options.family)?;

        let mut loader = EbpfLoader::new();
        loader.map_max_entries("SEQUENCE", options.order.turns(options.most_flows));
        let mut object = loader.load(OBJECT).context("cannot load the generator")?;
        let generate: &mut Xdp = object.program_mut("generate").context("no program generate")?.try_into()?;
        generate.load().context("the kernel refused the generator")?;
        attach_sinks(&mut object, site.ends(), options.sink)?;
        let index = |namespace: &Namespace| namespace.enter(|| nix::net::if_::if_nametoindex("eth0"));
        let [inside, outside] = ends.map(|end| -> Result<End> {
            Ok(End {
                interface: index(end.namespace)??,
                ethernet: ethernet(end.ethernet()?.as_flattened(), options.family),
            })
        });
        let (sources, ends) = (site.sources(), [inside?, outside?]);
        let mut traffic = Self { object, options, sources, in_sequence: None, ends };
        // The sinks count what others send, too.
        traffic.set(traffic.workload(Direction::Original, 1, 0))?;
        Ok(traffic)
    }

    fn workload(&self, direction: Direction, turns: u64, first: u64) -> Workload {
        let (published, service) = self.sources.published.unwrap_or_default();
        Workload {
            first,
            turns,
            in_sequence: 0,
            source: self.sources.first.into(),
            external: self.options.external.into(),
            ethernet: self.ends[usize::from(direction == Direction::Reply)].ethernet,
            reply: u16::from(direction == Direction::Reply),
            ports_per_source: self.sources.ports,
            published: Port::new(published),
            service: Port::new(service),
        }
    }

    fn set(&mut self, workload: Workload) -> Result<()> {
        let mut map: Array<&mut MapData, Workload> =
            Array::try_from(self.object.map_mut("WORKLOAD").context("no map WORKLOAD")?)?;
        Ok(map.set(0, workload, 0)?)
    }

    /// Sends so many packets of so many flows, in turns, beginning with the flow of number `first`.
    pub fn send(&mut self, site: &dyn Site, packets: u32, flows: u64, first: u64) -> Result<Run> {
        self.run(site, Direction::Original, packets, flows, first)
    }

    /// The same in one direction. Replies go to the port outside that is the number of the flow's own.
    pub fn run(
        &mut self,
        site: &dyn Site,
        direction: Direction,
        packets: u32,
        flows: u64,
        first: u64,
    ) -> Result<Run> {
        self.generate(site, direction, packets, self.workload(direction, flows, first))
    }

    /// The same from the first flow on, in the order of the options.
    pub fn run_in_order(
        &mut self,
        site: &dyn Site,
        direction: Direction,
        packets: u32,
        flows: u32,
    ) -> Result<Run> {
        ensure!(flows <= self.options.most_flows, "{flows} flows are more than there were to be");
        let order = self.options.order;
        if self.in_sequence != Some(flows) {
            sequence::write(self.object.map("SEQUENCE").context("no map SEQUENCE")?, &order.sequence(flows))?;
            self.in_sequence = Some(flows);
        }
        let turns = order.turns(flows).into();
        let workload = Workload { in_sequence: 1, ..self.workload(direction, turns, 0) };
        self.generate(site, direction, packets, workload)
    }

    fn generate(
        &mut self,
        site: &dyn Site,
        direction: Direction,
        packets: u32,
        workload: Workload,
    ) -> Result<Run> {
        let (namespace, end) = match direction {
            Direction::Original => (site.inside().namespace, self.ends[0]),
            Direction::Reply => (site.outside().namespace, self.ends[1]),
        };
        let before = self.received()?;
        self.set(workload)?;
        let mut made: PerCpuArray<&mut MapData, u64> =
            PerCpuArray::try_from(self.object.map_mut("MADE").context("no map MADE")?)?;
        let zero = made.get(&0, 0)?.iter().map(|_| 0).collect::<Vec<u64>>();
        made.set(0, aya::maps::PerCpuValues::try_from(zero)?, 0)?;
        let generate: &Xdp = self.object.program("generate").context("no program generate")?.try_into()?;

        let frame = vec![0u8; if self.options.family == Family::V6 { FRAME6 } else { FRAME }];
        let context = context(end.interface, frame.len());
        let took = namespace.enter(|| -> Result<Duration> {
            pin_to_one_processor()?;
            let options = TestRunOptions {
                data_in: Some(&frame),
                ctx_in: Some(&context),
                repeat: packets,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::default()
            };
            let start = Instant::now();
            generate.test_run(options).context("the kernel did not run the generator")?;
            Ok(start.elapsed())
        })??;
        let after = self.received()?;
        Ok(Run {
            sent: u64::from(packets),
            translated: after.expected - before.expected,
            untranslated: after.other - before.other,
            took,
        })
    }

    /// What the sinks have counted so far.
    pub fn received(&self) -> Result<Received> {
        let map: PerCpuArray<&MapData, Received> =
            PerCpuArray::try_from(self.object.map("RECEIVED").context("no map RECEIVED")?)?;
        let sum = |sum: Received, one: &Received| Received {
            expected: sum.expected + one.expected,
            other: sum.other + one.other,
        };
        Ok(map.get(&0, 0)?.iter().fold(Received::default(), sum))
    }
}

/// At the ends, the instance and the outside.
fn attach_sinks(object: &mut Ebpf, ends: [&Namespace; 2], sink: Sink) -> Result<()> {
    let (early, ends) = match sink {
        Sink::Outside => (&[][..], &ends[1..]),
        Sink::Instances => (&[][..], &ends[..]),
        Sink::Instance => (&ends[1..], &ends[..]),
        Sink::Both => (&ends[..], &ends[..]),
    };
    let program: &mut SchedClassifier = object.program_mut("sink").context("no program sink")?.try_into()?;
    program.load().context("the kernel refused the sink")?;
    for end in ends {
        end.enter(|| attach_sink(program))?.context("cannot attach the sink")?;
    }
    if !early.is_empty() {
        let program: &mut Xdp = object.program_mut("sink_xdp").context("no program sink_xdp")?.try_into()?;
        program.load().context("the kernel refused the sink for XDP")?;
        for end in early {
            let attached = end.enter(|| program.attach("eth0", XdpMode::Driver))?;
            attached.context("cannot attach the sink for XDP")?;
        }
    }
    Ok(())
}

/// To the end in this network namespace.
fn attach_sink(program: &mut SchedClassifier) -> Result<()> {
    if program.attach("eth0", TcAttachType::Ingress).is_err() {
        // Before Linux 6.6 programs are filters of a qdisc. They have numbers that are their namespace's, so aya would
        // take that of the other end for this one, and remove it in any: they go with their device.
        qdisc_add_clsact("eth0")?;
        let link = program.attach("eth0", TcAttachType::Ingress)?;
        mem::forget(program.take_link(link)?);
    }
    Ok(())
}

/// An Ethernet header with these addresses, as workloads have it.
fn ethernet(addresses: &[u8], family: Family) -> [u16; 7] {
    let mut words = [0u16; 7];
    for (word, pair) in words.iter_mut().zip(addresses.chunks_exact(2)) {
        *word = u16::from_ne_bytes([pair[0], pair[1]]);
    }
    let ether_type: u16 = match family {
        Family::V4 => 0x0800,
        Family::V6 => 0x86dd,
    };
    words[6] = ether_type.to_be();
    words
}

/// `struct xdp_md`: the frame is all there is, and it comes from this interface's first queue.
fn context(interface: u32, length: usize) -> Vec<u8> {
    [0, length as u32, 0, interface, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// The flow of packets stays on one processor, so that they are numbered in one row and none overtakes
/// another.
pub(crate) fn pin_to_one_processor() -> Result<()> {
    let mut processors = nix::sched::CpuSet::new();
    processors.set(0)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &processors).context("cannot pin a thread")
}
