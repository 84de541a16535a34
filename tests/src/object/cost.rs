//! What the programs cost, alone: the same frame again and again by `repeat` of `BPF_PROG_TEST_RUN`.
//!
//! The kernel does not set the frame back between the runs. So the flow table is made to swing: what one run has
//! translated is a packet of another flow, whose translation makes it the first packet again.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::Program;
use aya::{TestRun as _, TestRunOptions};
use natbpf::clock;
use natbpf_common::contract::counter::Counter;
use natbpf_common::contract::gauge::Gauge;
use natbpf_common::flow::Traits;
use natbpf_common::flow::life::Life;
use natbpf_common::flow::{state::State, step};
use natbpf_common::{
    Port, SECOND,
    wire::{protocol, segment::TcpFlags},
};
use natbpf_common::{
    flow::{Direction, FlowEntry, FlowKey, Rewrite, Status},
    time::Moment,
};

use super::packet::{End, Packet};
use super::paths::own_addresses;
use super::runner::Context;
use super::tables::key_of;
use super::{LO, Object};
use crate::{GATEWAY, SERVER, VM1, VM2};

const A: End = (VM1, 5000);
const B: End = (VM2, 5000);
/// Another flow: that of the replies.
const C: End = (VM1, 6000);
const REMOTE: End = (SERVER, 9000);

fn is_offload(counter: Counter) -> bool {
    matches!(counter, Counter::EgressOffloaded | Counter::IngressOffloaded)
}

impl Object {
    /// Nanoseconds a run of a program of the object, of so many runs; `None`: it does not take packets.
    ///
    /// # Errors
    /// When a program has not translated every time, or sent it on where it does that.
    pub fn cost(&mut self, name: &str, repeat: u32) -> Result<Option<Duration>> {
        let reply = Packet::udp(REMOTE, (GATEWAY, C.1));
        let (packet, counter) = match name {
            "reap" => return Ok(None),
            "uplink_egress" => (Packet::udp(A, REMOTE), Some(Counter::EgressPackets)),
            "uplink_ingress" => (reply, Some(Counter::IngressPackets)),
            "edge_ingress" | "edge_xdp" => (Packet::udp(A, REMOTE), Some(Counter::EgressOffloaded)),
            // What else looks at the way in, and has its own counters.
            _ if name.starts_with("uplink") => (reply, None),
            "edge_egress" | "leave" => (Packet::udp(REMOTE, C), None),
            _ => (Packet::udp(A, REMOTE), None),
        };
        let offloaded = counter.is_some_and(is_offload);
        self.swing();
        if offloaded {
            self.offload_in_place();
        }
        let before = self.programs.tables.counters()?;
        let program = self.programs.loaded.ebpf().program(name).context("the object has the program")?;
        let duration = time(program, &packet.bytes(), repeat).with_context(|| name.to_owned())?;
        let after = self.programs.tables.counters()?;
        if let Some(counter) = counter {
            let translated = after[counter as usize] - before[counter as usize];
            ensure!(translated == u64::from(repeat), "{name} translated {translated} packets of {repeat}");
        }
        if offloaded {
            self.set_gauge(Gauge::Epoch, 0);
            self.set_xdp_target(false);
        }
        Ok(Some(duration))
    }

    /// Turns offload on for the flows of [`Object::swing`], whose frames leave with the addresses and the time to live
    /// that they have.
    fn offload_in_place(&mut self) {
        self.offload();
        self.set_xdp_target(true);
        let keys: Vec<_> = self.entries().into_iter().map(|(key, _)| key).collect();
        for key in keys {
            self.note(&key, |path| {
                path.exit.ethernet = own_addresses();
                path.hops = 0;
            });
        }
    }

    /// Whether a program of the object runs at XDP.
    pub fn is_xdp(&mut self, name: &str) -> bool {
        matches!(self.programs.loaded.ebpf().program(name), Some(Program::Xdp(_)))
    }

    /// Puts flows into the table that lead to each other.
    fn swing(&mut self) {
        for end in [A, B, C] {
            let _ = self.egress(&Packet::udp(end, REMOTE));
        }
        for (from, to) in [(A, B), (B, A)] {
            let key = key_of(&Packet::udp(from, REMOTE));
            // Neither is an address of the uplink.
            self.change(&key, |entry| {
                *entry = settled(*entry, &key, to);
                entry.traits |= Traits::FOREIGN_ADDRESS;
            });
        }
        let there =
            FlowKey { direction: Direction::Reply as u8, ..key_of(&Packet::udp(REMOTE, (GATEWAY, C.1))) };
        let back = FlowKey { destination: C.0.into(), destination_port: Port::new(C.1), ..there };
        let entry = self.entry(&there).expect("the flow of the replies");
        for (key, to) in [(there, C), (back, (GATEWAY, C.1))] {
            self.programs.flows.insert(key, settled(entry, &key, to), 0).expect("the entry can be written");
        }
    }
}

/// As an entry of a flow is that has lived for a while, with this translation: nothing about it changes for a second.
fn settled(entry: FlowEntry, key: &FlowKey, to: End) -> FlowEntry {
    let now = clock::now();
    let rewrite = Rewrite::new(to.0.into(), Port::new(to.1), key.tag());
    let old = 10 * SECOND;
    let step = |status| step::next(status, protocol::UDP, Direction::Reply, TcpFlags::empty(), old).status;
    // Each remembers what it has seen; after two packets that is all there is.
    let status = step(step(Status::new(State::UdpStream as u8)));
    FlowEntry {
        life: Life::Live(now).to_word(),
        created: Moment::of(now.saturating_sub(old)),
        rewrite: rewrite.to_word(),
        status: status.to_word(),
        ..entry
    }
}

/// The mean of a run of any program that takes packets.
pub fn time(program: &Program, frame: &[u8], repeat: u32) -> Result<Duration> {
    let sk_buff = Context::on(LO).to_sk_buff();
    let options = |context| TestRunOptions {
        data_in: Some(frame),
        ctx_in: context,
        repeat,
        ..TestRunOptions::default()
    };
    let result = match program {
        Program::SchedClassifier(program) => program.test_run(options(Some(&sk_buff)))?,
        Program::Xdp(program) => program.test_run(options(None))?,
        _ => bail!("neither a TC program nor an XDP program"),
    };
    Ok(result.duration)
}
