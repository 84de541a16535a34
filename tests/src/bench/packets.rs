//! Measures by packets at the speed of the kernel: packets of flows, new flows, the host's own packets, and what a
//! table full of flows costs.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::gateway::{Running, external};
use super::housekeeping;
use super::measure::{Group, Measure, NEW};
use super::memory;
use super::options::Plan;
use super::side::Side;
use crate::addresses::GATEWAY;
use crate::process::interrupt;
use crate::topology::{Lab, Options};
use crate::traffic::{Direction, Run, Sink, Traffic};

const DIRECTIONS: [Direction; 2] = [Direction::Original, Direction::Reply];

struct Bench<'a> {
    lab: &'a Lab,
    side: &'a Side,
    plan: &'a Plan,
    traffic: Traffic,
    /// How many flows there are.
    begun: u32,
}

/// Takes them in a lab of their own.
pub fn measure(side: &Side, plan: &Plan, record: &mut dyn FnMut(Measure, f64)) -> Result<()> {
    let lab = Lab::with(Options { bridge: false, ..Options::default() })?;
    let running = Running::start(&lab, side)?;
    let sink = if side.kind.is_xdp() { Sink::Both } else { Sink::Instance };
    let traffic = Traffic::with(&lab, external(side), sink)?;
    let mut bench = Bench { lab: &lab, side, plan, traffic, begun: 0 };
    // Caches, and for flows that take another way once they are known both directions.
    bench.begin(1)?;
    for direction in DIRECTIONS {
        bench.packets(direction, NEW / 10, 1)?;
    }
    if plan.wants(side, Measure::Host) {
        record(Measure::Host, host(&lab, plan.packets)?);
    }
    let mut new = None;
    for flows in plan.flows_of(side) {
        interrupt::check()?;
        let rest = flows.saturating_sub(bench.begun);
        let cost = bench.begin(rest)?;
        if rest >= NEW / 2 && new.is_none() {
            new = cost;
        }
        for direction in DIRECTIONS {
            let measure = Measure::Packets { direction, flows };
            if plan.wants(side, measure) {
                record(measure, bench.packets(direction, plan.packets.max(flows), flows)?.cost());
            }
        }
    }
    if plan.wants(side, Measure::NewFlows) {
        let cost = if new.is_some() { new } else { bench.begin(NEW)? };
        record(Measure::NewFlows, cost.context("no flow was begun")?);
    }
    if plan.wants(side, Measure::Memory) {
        record(Measure::Memory, memory::of_a_flow(side, plan.max_flows())?);
    }
    let housekeeping = Measure::Housekeeping { flows: plan.most_flows() };
    if plan.wants(side, housekeeping) && matches!(running, Running::Natbpf(_)) {
        bench.begin(plan.most_flows().saturating_sub(bench.begun))?;
        record(housekeeping, housekeeping::round(bench.begun)?.as_secs_f64() * 1e3);
    }
    Ok(())
}

impl Bench<'_> {
    /// Begins so many flows more, and lets packets of each pass until nothing changes any more; returns what
    /// the first packet of one costs.
    fn begin(&mut self, flows: u32) -> Result<Option<f64>> {
        if flows == 0 {
            return Ok(None);
        }
        let (first, mut cost) = (self.begun, None);
        // An offload is for a flow that has been seen in both directions, and learnt of each direction alone.
        for turn in 0..2 {
            for direction in DIRECTIONS {
                let run = self.traffic.run(self.lab, direction, flows, flows.into(), first.into())?;
                self.check(direction, run)?;
                if (turn, direction) == (0, Direction::Original) {
                    cost = Some(run.cost());
                }
            }
            if !self.plan.wants_group(Group::Packets) {
                break;
            }
        }
        self.begun += flows;
        Ok(cost)
    }

    fn packets(&mut self, direction: Direction, packets: u32, flows: u32) -> Result<Run> {
        let run = self.traffic.run(self.lab, direction, packets, flows.into(), 0)?;
        self.check(direction, run)?;
        Ok(run)
    }

    /// Every packet has arrived, as it should.
    fn check(&self, direction: Direction, run: Run) -> Result<()> {
        let translated = direction == Direction::Reply || self.side.kind.translates();
        let (right, wrong) =
            if translated { (run.translated, run.untranslated) } else { (run.untranslated, run.translated) };
        if right != run.sent || wrong != 0 {
            bail!(
                "{direction:?} direction: of {} packets {right} arrived as they should and {wrong} otherwise",
                run.sent
            );
        }
        Ok(())
    }
}

/// What a datagram that the gateway itself sends costs, in nanoseconds.
fn host(lab: &Lab, packets: u32) -> Result<f64> {
    let socket = lab.gw.udp((GATEWAY, 0))?;
    socket.connect((Ipv4Addr::new(198, 18, 255, 1), 9))?;
    let send = |count: u32| -> Result<f64> {
        let start = Instant::now();
        for _ in 0..count {
            socket.send(&[0; 18])?;
        }
        Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(count))
    };
    send(packets / 10)?;
    send(packets)
}
