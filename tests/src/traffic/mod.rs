//! Packets at the speed of the kernel: a generator at one end of the path, vm1 or the outside, and a sink at the
//! other.
//!
//! The generator is an XDP program that the kernel runs on live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`) and
//! whose packets it sends to the gateway as if that end had. One processor does it all: it makes a batch, takes it
//! through the gateway and drops it at the other end, and then makes the next. So nothing is lost for want of room in
//! a queue, and the time for a number of packets is the cost of the path.

pub mod tags;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::{SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::{Ebpf, TestRun, TestRunAttrs, TestRunOptions};
use natbpf_common::Address;
use natbpf_gear::{FRAME, Received, Workload};

use crate::addresses::{GATEWAY, INSIDE, SERVER, VM1};
use crate::netns::Namespace;
use crate::netns::link::{colons, link_address};
use crate::topology::Lab;

pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/generator"));

/// Frames made at a time; far fewer than a veth's queue holds.
const BATCH: u32 = 64;

/// Source address of the first flow. All of them are in the masqueraded network.
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 16);

const ETHER_TYPE_IPV4: u16 = 0x0800;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From vm1 to the outside.
    Original,
    /// From the outside to vm1.
    Reply,
}

/// Generators and sinks in a lab without a bridge.
pub struct Traffic {
    object: Ebpf,
    /// The ends of both directions.
    ends: [End; 2],
    source: Address,
    external: Address,
}

/// Where the generator of a direction is.
#[derive(Clone, Copy, Debug)]
struct End {
    /// Its interface, by index.
    interface: u32,
    /// From it to the gateway.
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

/// Where packets are counted and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// At the TC hook of the outside alone.
    Outside,
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
    /// Readies a lab. `external` is the address that packets should come from when they arrive.
    pub fn new(lab: &Lab, external: Ipv4Addr) -> Result<Self> {
        Self::with(lab, external, Sink::Outside)
    }

    /// Readies a lab; an unspecified `external` says that nothing translates.
    pub fn with(lab: &Lab, external: Ipv4Addr, sink: Sink) -> Result<Self> {
        ensure!(
            !OBJECT.is_empty(),
            "the generator was not built (NATBPF_EBPF=stub); build without that variable"
        );
        // Frames are taken in only where the far end has NAPI, which GRO switches on.
        lab.gw.cmd("ethtool").args(["-K", "port1", "gro", "on"]).run()?;
        lab.gw.cmd("ethtool").args(["-K", "wan", "gro", "on"]).run()?;
        // All sources are behind vm1.
        lab.gw.ip(&format!(
            "route add 198.18.0.0/15 via {SERVER}\nroute add {INSIDE} via {VM1} dev port1 onlink"
        ))?;
        let (inner, outer) = (link_address(&lab.gw, "port1")?, link_address(&lab.gw, "wan")?);
        let (instance, server) = (link_address(&lab.vm1, "eth0")?, link_address(&lab.out, "eth0")?);
        // Nobody should have to ask for the next hop in the middle of a run.
        let neighbour = |ip: Ipv4Addr, link, device: &str| {
            format!("neigh replace {ip} lladdr {} dev {device} nud permanent\n", colons(link))
        };
        lab.gw.ip(&(neighbour(SERVER, server, "wan") + &neighbour(VM1, instance, "port1")))?;
        lab.out.ip(&neighbour(GATEWAY, outer, "eth0"))?;

        let mut object = Ebpf::load(OBJECT).context("cannot load the generator")?;
        let generate: &mut Xdp = object.program_mut("generate").context("no program generate")?.try_into()?;
        generate.load().context("the kernel refused the generator")?;
        attach_sinks(&mut object, lab, sink)?;
        let index = |namespace: &Namespace| namespace.enter(|| nix::net::if_::if_nametoindex("eth0"));
        let ends = [
            End { interface: index(&lab.vm1)??, ethernet: ethernet(inner, instance) },
            End { interface: index(&lab.out)??, ethernet: ethernet(outer, server) },
        ];
        let mut traffic =
            Self { object, ends, source: Address::from(FIRST_SOURCE), external: Address::from(external) };
        // The sinks count what others send, too.
        traffic.set(traffic.workload(Direction::Original, 1, 0))?;
        Ok(traffic)
    }

    fn workload(&self, direction: Direction, flows: u64, first: u64) -> Workload {
        Workload {
            first,
            flows,
            source: self.source,
            external: self.external,
            ethernet: self.ends[usize::from(direction == Direction::Reply)].ethernet,
            reply: u16::from(direction == Direction::Reply),
        }
    }

    fn set(&mut self, workload: Workload) -> Result<()> {
        let mut map: Array<&mut MapData, Workload> =
            Array::try_from(self.object.map_mut("WORKLOAD").context("no map WORKLOAD")?)?;
        Ok(map.set(0, workload, 0)?)
    }

    /// Sends so many packets of so many flows, in turns, beginning with the flow of number `first`.
    pub fn send(&mut self, lab: &Lab, packets: u32, flows: u64, first: u64) -> Result<Run> {
        self.run(lab, Direction::Original, packets, flows, first)
    }

    /// The same in one direction. Replies go to the port outside that is the number of the flow's own.
    pub fn run(
        &mut self,
        lab: &Lab,
        direction: Direction,
        packets: u32,
        flows: u64,
        first: u64,
    ) -> Result<Run> {
        let (namespace, end) = match direction {
            Direction::Original => (&lab.vm1, self.ends[0]),
            Direction::Reply => (&lab.out, self.ends[1]),
        };
        let before = self.received()?;
        self.set(self.workload(direction, flows, first))?;
        let mut made: PerCpuArray<&mut MapData, u64> =
            PerCpuArray::try_from(self.object.map_mut("MADE").context("no map MADE")?)?;
        let zero = made.get(&0, 0)?.iter().map(|_| 0).collect::<Vec<u64>>();
        made.set(0, aya::maps::PerCpuValues::try_from(zero)?, 0)?;
        let generate: &Xdp = self.object.program("generate").context("no program generate")?.try_into()?;

        let frame = [0u8; FRAME];
        let context = context(end.interface);
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

fn attach_sinks(object: &mut Ebpf, lab: &Lab, sink: Sink) -> Result<()> {
    let ends: &[&Namespace] = match sink {
        Sink::Outside => &[&lab.out],
        Sink::Instance | Sink::Both => &[&lab.out, &lab.vm1],
    };
    let early: &[&Namespace] = match sink {
        Sink::Outside => &[],
        Sink::Instance => &[&lab.out],
        Sink::Both => ends,
    };
    let program: &mut SchedClassifier = object.program_mut("sink").context("no program sink")?.try_into()?;
    program.load().context("the kernel refused the sink")?;
    for end in ends {
        end.enter(|| program.attach("eth0", TcAttachType::Ingress))?.context("cannot attach the sink")?;
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

/// An Ethernet header, as workloads have it.
fn ethernet(to: [u8; 6], from: [u8; 6]) -> [u16; 7] {
    let mut words = [0u16; 7];
    for (word, pair) in words.iter_mut().zip([to, from].concat().chunks_exact(2)) {
        *word = u16::from_ne_bytes([pair[0], pair[1]]);
    }
    words[6] = ETHER_TYPE_IPV4.to_be();
    words
}

/// `struct xdp_md`: the frame is all there is, and it comes from this interface's first queue.
fn context(interface: u32) -> Vec<u8> {
    [0, FRAME as u32, 0, interface, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// The flow of packets stays on one processor, so that they are numbered in one row and none overtakes
/// another.
pub(crate) fn pin_to_one_processor() -> Result<()> {
    let mut processors = nix::sched::CpuSet::new();
    processors.set(0)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &processors).context("cannot pin a thread")
}
