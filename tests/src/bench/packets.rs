//! Measures by packets at the speed of the kernel: packets of flows, new flows, the host's own packets, and what a
//! table full of flows costs.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::gateway::{Running, external};
use super::housekeeping;
use super::measure::{Measure, NEW};
use super::memory;
use super::options::Plan;
use super::repeated::Repeated;
use super::setting::Place;
use super::side::Side;
use crate::addresses::GATEWAY;
use crate::process::interrupt;
use crate::topology::Site;
use crate::traffic::{self, Direction, Run, Sink, Traffic};

const DIRECTIONS: [Direction; 2] = [Direction::Original, Direction::Reply];

/// So often packets of each flow pass before they are measured, at least, and at most where fewer than nearly all are
/// repeated.
const FEWEST_PASSES: u32 = 3;
const MOST_PASSES: u32 = 12;
const NEARLY_ALL: f64 = 0.99;

struct Bench<'a> {
    site: &'a dyn Site,
    side: &'a Side,
    traffic: Traffic,
    /// None for what repeats nothing.
    repeated: Option<Repeated>,
    /// How many flows there are.
    begun: u32,
}

/// Takes them in a site of their own.
pub fn measure(place: &Place, side: &Side, plan: &Plan, record: &mut dyn FnMut(Measure, f64)) -> Result<()> {
    let site = place.site()?;
    let site = &*site;
    let running = Running::start(place, site, side)?;
    let options = traffic::Options {
        family: side.setting.family,
        external: external(site, side),
        sink: sink(side),
        order: plan.order,
        most_flows: plan.most_flows(),
    };
    let traffic = Traffic::with(site, options)?;
    let repeated = side.repeats().then(|| Repeated::open(&place.bpffs())).transpose()?;
    let mut bench = Bench { site, side, traffic, repeated, begun: 0 };
    // Caches, and for flows that take another way once they are known both directions.
    bench.begin(1)?;
    for direction in DIRECTIONS {
        bench.warm(direction, 1)?;
        bench.packets(direction, NEW / 10, 1)?;
    }
    if let Some(repeated) = &bench.repeated {
        repeated.settle()?;
    }
    if plan.wants(side, Measure::Host) {
        record(Measure::Host, host(site, side, plan.packets)?);
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
                let (run, repeated) = bench.measured(direction, plan.packets.max(flows), flows)?;
                record(measure, run.cost());
                if let Some(share) = repeated {
                    record(Measure::Repeated { direction, flows }, share * 100.0);
                }
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
    /// Begins so many flows more, a packet in each direction; returns what the first one costs.
    fn begin(&mut self, flows: u32) -> Result<Option<f64>> {
        if flows == 0 {
            return Ok(None);
        }
        let mut cost = None;
        let mut directions = DIRECTIONS;
        if self.site.sources().published.is_some() {
            directions.reverse();
        }
        for direction in directions {
            let run = self.traffic.run(self.site, direction, flows, flows.into(), self.begun.into())?;
            self.check(direction, run)?;
            cost = cost.or(Some(run.cost()));
        }
        self.begun += flows;
        Ok(cost)
    }

    /// Lets packets of each flow pass until nothing changes any more. Just before they are measured: what has been
    /// learnt of a flow is not believed for ever, and a million of them take seconds.
    fn warm(&mut self, direction: Direction, flows: u32) -> Result<()> {
        for pass in 1..=MOST_PASSES {
            let pass_of_all =
                |bench: &mut Self| bench.traffic.run(bench.site, direction, flows, flows.into(), 0);
            let (run, share) = self.share(pass_of_all)?;
            self.check(direction, run)?;
            // What passes twice in the same way is repeated from the third time on.
            if pass >= FEWEST_PASSES && share.is_none_or(|share| share > NEARLY_ALL) {
                break;
            }
        }
        Ok(())
    }

    /// Packets of flows that were just warmed up, and what share of them natbpf repeated.
    fn measured(&mut self, direction: Direction, packets: u32, flows: u32) -> Result<(Run, Option<f64>)> {
        self.warm(direction, flows)?;
        self.share(|bench| bench.packets(direction, packets, flows))
    }

    /// Sends, and says what share of the packets natbpf repeated, where it repeats any.
    fn share(&mut self, send: impl FnOnce(&mut Self) -> Result<Run>) -> Result<(Run, Option<f64>)> {
        let repeated = |bench: &Self| bench.repeated.as_ref().map(Repeated::packets).transpose();
        let before = repeated(self)?;
        let run = send(self)?;
        let share = |(before, after): (u64, u64)| (after - before) as f64 / run.sent as f64;
        Ok((run, before.zip(repeated(self)?).map(share)))
    }

    fn packets(&mut self, direction: Direction, packets: u32, flows: u32) -> Result<Run> {
        let run = self.traffic.run_in_order(self.site, direction, packets, flows)?;
        self.check(direction, run)?;
        Ok(run)
    }

    /// Every packet has arrived, as it should.
    fn check(&self, direction: Direction, run: Run) -> Result<()> {
        let translated = direction == Direction::Reply || self.side.translates();
        let (right, wrong) =
            if translated { (run.translated, run.untranslated) } else { (run.untranslated, run.translated) };
        if right != run.sent || wrong != 0 {
            bail!(
                "{direction:?} direction: of {} packets {right} arrived as they should and {wrong} otherwise; dropped by \
                 devices so far: {}",
                run.sent,
                dropped(self.site)?
            );
        }
        Ok(())
    }
}

/// What devices at the ends have dropped, received and sent.
fn dropped(site: &dyn Site) -> Result<String> {
    let mut text = Vec::new();
    for end in [site.inside(), site.outside()] {
        for (namespace, device) in [(end.namespace, "eth0"), (site.host(), end.edge)] {
            let links =
                namespace.cmd("ip").args(["-j", "-s", "link", "show", "dev", device]).output_text()?;
            let links: serde_json::Value = serde_json::from_str(&links)?;
            let count = |way: &str| links[0]["stats64"][way]["dropped"].as_u64().unwrap_or_default();
            text.push(format!("{} {device} {}/{}", namespace.name(), count("rx"), count("tx")));
        }
    }
    Ok(text.join(", "))
}

/// Where packets end.
fn sink(side: &Side) -> Sink {
    if side.kind.is_xdp() {
        Sink::Both
    } else if side.setting.topology.is_a_pair() {
        Sink::Instances
    } else {
        Sink::Instance
    }
}

/// What a datagram that the gateway itself sends costs, in nanoseconds.
fn host(site: &dyn Site, side: &Side, packets: u32) -> Result<f64> {
    let family = side.setting.family;
    let socket = site.host().udp((family.address(GATEWAY), 0))?;
    socket.connect((family.address(Ipv4Addr::new(198, 18, 255, 1)), 9))?;
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
