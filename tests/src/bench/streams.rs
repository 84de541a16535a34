//! Measures by TCP between real ends: bulk, requests, connections.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};

use super::gateway::Running;
use super::latency::{self, Ends, Latencies};
use super::measure::{Group, Measure, Percentile};
use super::options::Plan;
use super::setting::Place;
use super::side::Side;
use crate::addresses::GATEWAY;
use crate::ends::tools::iperf3;
use crate::process::interrupt;
use crate::topology::Site;
use crate::traffic::Direction;

/// Takes them in a site of their own.
pub fn measure(place: &Place, side: &Side, plan: &Plan, record: &mut dyn FnMut(Measure, f64)) -> Result<()> {
    if side.setting.topology.platform().is_some() && side.kind.is_xdp() {
        // What XDP needs of the ends would stay with the host, on which the others are measured.
        return Ok(());
    }
    let site = place.site()?;
    let site = &*site;
    if site.sources().published.is_some() {
        // Who asks is outside.
        return Ok(());
    }
    let family = side.setting.family;
    let ends = Ends {
        client: site.inside().namespace,
        server: site.outside().namespace,
        address: family.address(site.server()),
    };
    // Every connection has its own port until the last one's is free again.
    ends.client.sysctl("net.ipv4.ip_local_port_range", "1024 65000")?;
    if site.is_routed() && !side.translates() {
        let network = family.network(Ipv4Addr::new(10, 0, 0, 0), 24);
        ends.server.ip(&format!("route add {network} via {} dev eth0", family.address(GATEWAY)))?;
    }
    if side.kind.is_xdp() {
        ready_for_xdp(site)?;
    }
    let _running = Running::start(place, site, side)?;
    // These also warm up what comes after them.
    if plan.wants_group(Group::Requests) {
        let latencies = latency::requests(&ends, plan.seconds).context("requests")?;
        say(&latencies, Measure::Requests, Measure::RequestLatency, record);
    }
    if plan.wants_group(Group::Connections) {
        let latencies = latency::connections(&ends, plan.seconds).context("connections")?;
        say(&latencies, Measure::Connections, Measure::ConnectionLatency, record);
    }
    // A processor each for client and server, where there are two: where the scheduler puts them changes the figures
    // more than what is measured.
    let other = std::thread::available_parallelism().map_or(0, |count| usize::from(count.get() > 1));
    for streams in [1, 8] {
        for direction in [Direction::Original, Direction::Reply] {
            interrupt::check()?;
            let measure = Measure::Stream { direction, streams };
            if plan.wants(side, measure) {
                let way = if direction == Direction::Reply { "-R" } else { "" };
                let options = format!("-t {} -P {streams} -A 0,{other} {way}", plan.seconds);
                let report =
                    iperf3(ends.client, (ends.server, ends.address), &options).context("bulk TCP")?;
                record(measure, report.bits_per_second / 1e9);
            }
        }
    }
    Ok(())
}

fn say(
    latencies: &Latencies,
    rate: Measure,
    latency: fn(Percentile) -> Measure,
    record: &mut dyn FnMut(Measure, f64),
) {
    record(rate, latencies.rate());
    for percentile in Percentile::ALL {
        record(latency(percentile), latencies.percentile(percentile.share()));
    }
}

/// XDP of veth sees packets before their sender's device would have summed them, and a redirect loses what is
/// to be done: so the ends sum them. It also needs NAPI at the far ends, which GRO switches on.
fn ready_for_xdp(site: &dyn Site) -> Result<()> {
    for end in [site.inside(), site.outside()] {
        end.namespace.cmd("ethtool").args(["-K", "eth0", "tx", "off", "gro", "on"]).run()?;
        site.host().cmd("ethtool").args(["-K", end.edge, "gro", "on"]).run()?;
    }
    Ok(())
}
