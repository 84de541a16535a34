//! Packets at the speed of the kernel: a generator at vm1's interface, a sink at the outside's.
//!
//! The generator is an XDP program that the kernel runs on live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`) and
//! whose packets it sends to the gateway as if vm1 had. One processor does it all: it makes a batch, takes it
//! through the gateway and drops it outside, and then makes the next. So nothing is lost for want of room in
//! a queue, and the time for a number of packets is the cost of the path.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::{SchedClassifier, TcAttachType, Xdp};
use aya::{Ebpf, TestRun, TestRunAttrs, TestRunOptions};
use natbpf_common::Address;
use natbpf_common::traffic::{FRAME, Received, Workload};

use crate::netns::Namespace;
use crate::topology::{GATEWAY, Lab, SERVER};

pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/generator"));

/// Frames made at a time; far fewer than a veth's queue holds.
const BATCH: u32 = 64;

/// Source address of the first flow. All of them are in the masqueraded network.
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 16);

const ETHER_TYPE_IPV4: u16 = 0x0800;

/// A generator and a sink in a lab without a bridge.
pub struct Traffic {
    object: Ebpf,
    workload: Workload,
    /// vm1's interface, by index.
    interface: u32,
}

impl std::fmt::Debug for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Traffic").field("workload", &self.workload).finish_non_exhaustive()
    }
}

/// What became of the packets of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub sent: u64,
    /// Arrived from the gateway's address.
    pub translated: u64,
    /// Arrived from another address.
    pub untranslated: u64,
    pub took: Duration,
}

impl Run {
    /// Nanoseconds a packet.
    pub fn cost(&self) -> f64 {
        self.took.as_secs_f64() * 1e9 / self.sent as f64
    }
}

impl Traffic {
    /// Readies a lab. `expected_source` is the address that packets should come from when they arrive.
    pub fn new(lab: &Lab, expected_source: Ipv4Addr) -> Result<Self> {
        ensure!(
            !OBJECT.is_empty(),
            "the generator was not built (NATBPF_EBPF=stub); build without that variable"
        );
        // Frames are taken in only where the far end has NAPI, which GRO switches on.
        lab.gw.cmd("ethtool").args(["-K", "port1", "gro", "on"]).run()?;
        lab.gw.ip(&format!("route add 198.18.0.0/15 via {SERVER}"))?;
        // The gateway should not have to ask for the next hop in the middle of a run.
        let gateway = link_address(&lab.gw, "wan")?;
        let server = link_address(&lab.out, "eth0")?;
        lab.gw.ip(&format!("neigh replace {SERVER} lladdr {} dev wan nud permanent", colons(server)))?;
        lab.out.ip(&format!("neigh replace {GATEWAY} lladdr {} dev eth0 nud permanent", colons(gateway)))?;

        let (to, from) = (link_address(&lab.gw, "port1")?, link_address(&lab.vm1, "eth0")?);
        let mut ethernet = [0u16; 7];
        for (word, pair) in ethernet.iter_mut().zip([to, from].concat().chunks_exact(2)) {
            *word = u16::from_ne_bytes([pair[0], pair[1]]);
        }
        ethernet[6] = ETHER_TYPE_IPV4.to_be();
        let workload = Workload {
            source: Address::from(FIRST_SOURCE),
            expected_source: Address::from(expected_source),
            ethernet,
            ..Workload::default()
        };
        let mut object = Ebpf::load(OBJECT).context("cannot load the generator")?;
        let generate: &mut Xdp = object.program_mut("generate").context("no program generate")?.try_into()?;
        generate.load().context("the kernel refused the generator")?;
        let sink: &mut SchedClassifier = object.program_mut("sink").context("no program sink")?.try_into()?;
        sink.load().context("the kernel refused the sink")?;
        lab.out.enter(|| sink.attach("eth0", TcAttachType::Ingress))?.context("cannot attach the sink")?;
        let interface = lab.vm1.enter(|| nix::net::if_::if_nametoindex("eth0"))??;
        Ok(Self { object, workload, interface })
    }

    /// Sends so many packets of so many flows, in turns, beginning with the flow of number `first`.
    pub fn send(&mut self, lab: &Lab, packets: u32, flows: u64, first: u64) -> Result<Run> {
        let before = self.received()?;
        self.workload.first = first;
        self.workload.flows = flows;
        let mut workload: Array<&mut MapData, Workload> =
            Array::try_from(self.object.map_mut("WORKLOAD").context("no map WORKLOAD")?)?;
        workload.set(0, self.workload, 0)?;
        let mut made: PerCpuArray<&mut MapData, u64> =
            PerCpuArray::try_from(self.object.map_mut("MADE").context("no map MADE")?)?;
        let zero = made.get(&0, 0)?.iter().map(|_| 0).collect::<Vec<u64>>();
        made.set(0, aya::maps::PerCpuValues::try_from(zero)?, 0)?;
        let generate: &Xdp = self.object.program("generate").context("no program generate")?.try_into()?;

        let frame = [0u8; FRAME];
        let context = context(self.interface);
        let took = lab.vm1.enter(|| -> Result<Duration> {
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

    fn received(&self) -> Result<Received> {
        let map: PerCpuArray<&MapData, Received> =
            PerCpuArray::try_from(self.object.map("RECEIVED").context("no map RECEIVED")?)?;
        let sum = |sum: Received, one: &Received| Received {
            expected: sum.expected + one.expected,
            other: sum.other + one.other,
        };
        Ok(map.get(&0, 0)?.iter().fold(Received::default(), sum))
    }
}

/// `struct xdp_md`: the frame is all there is, and it comes from this interface's first queue.
fn context(interface: u32) -> Vec<u8> {
    [0, FRAME as u32, 0, interface, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// The flow of packets stays on one processor, so that they are numbered in one row and none overtakes
/// another.
fn pin_to_one_processor() -> Result<()> {
    let mut processors = nix::sched::CpuSet::new();
    processors.set(0)?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &processors).context("cannot pin a thread")
}

fn link_address(namespace: &Namespace, device: &str) -> Result<[u8; 6]> {
    let text = namespace.cmd("ip").args(["-j", "link", "show", "dev", device]).output_text()?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    let address =
        links[0]["address"].as_str().with_context(|| format!("{device} has no link layer address"))?;
    let mut bytes = [0u8; 6];
    for (byte, text) in bytes.iter_mut().zip(address.split(':')) {
        *byte = u8::from_str_radix(text, 16)?;
    }
    Ok(bytes)
}

fn colons(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}
