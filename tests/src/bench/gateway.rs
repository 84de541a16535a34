//! What a side puts into the host of a site, and into its router.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::bare::Bare;
use super::setting::Place;
use super::side::{Kind, Rules, Side, Start};
use crate::addresses::Family;
use crate::gateway::natbpf::Natbpf;
use crate::process::{Process, Stream};
use crate::topology::Site;

/// Until a trace looks.
const BEGIN: Duration = Duration::from_secs(10);

/// A side at work; dropping it ends what runs.
#[derive(Debug)]
#[expect(dead_code, reason = "what runs is kept for its end")]
pub enum Running {
    /// The kernel alone, with rules or without.
    Kernel,
    Natbpf(Natbpf),
    /// With the trace that looks at it, which ends first.
    Traced(Process, Natbpf),
    /// On a host that others are measured on, too.
    OnHost(Leaving),
    Bare(Bare),
}

/// A natbpf that leaves nothing attached at its end.
#[derive(Debug)]
pub struct Leaving(Option<Natbpf>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(Natbpf::stop) {
            eprintln!("bench: natbpf does not end: {error:#}");
        }
    }
}

impl Running {
    pub fn start(place: &Place, site: &dyn Site, side: &Side) -> Result<Self> {
        rules(site, side)?;
        if let Some((path, start)) = &side.natbpf {
            let cli = place.natbpf_cli(site)?;
            if let (Place::Host { .. }, Start::Accelerate { hook, .. }) = (place, start) {
                // As an operator of the platform would.
                let natbpf = cli.start(["accelerate", "--hook", hook])?;
                return Ok(Self::OnHost(Leaving(Some(natbpf))));
            }
            let cli = cli.binary(path);
            let natbpf = match start {
                Start::Arguments(args) => cli.start(args)?,
                Start::Accelerate { hook, max_flows } => {
                    let edges = [site.inside().edge, site.outside().edge];
                    Natbpf::for_toml(&cli, &accelerate(edges, hook, *max_flows))?
                }
            };
            let Some(sample) = side.trace else { return Ok(Self::Natbpf(natbpf)) };
            let trace =
                cli.cmd().args(["trace", "--sample", &sample.to_string(), "-w", "/dev/null"]).spawn()?;
            trace.wait_for(Stream::Stderr, BEGIN, |line| line.starts_with("tracing"))?;
            return Ok(Self::Traced(trace, natbpf));
        }
        match side.kind {
            Kind::BareTc | Kind::BarePeer | Kind::BareXdp => Ok(Self::Bare(Bare::start(site, side.kind)?)),
            _ => Ok(Self::Kernel),
        }
    }
}

/// `natbpf accelerate EDGE EDGE`, with room for so many flows, which a file alone can say.
fn accelerate(edges: [&str; 2], hook: &str, max_flows: u32) -> String {
    format!("[[accelerate]]\nedges = {edges:?}\n\n[datapath]\nhook = \"{hook}\"\nmax_flows = {max_flows}\n")
}

/// What packets come from outside, unspecified for a side that does not translate.
pub fn external(site: &dyn Site, side: &Side) -> Ipv4Addr {
    if side.translates() { site.gateway() } else { Ipv4Addr::UNSPECIFIED }
}

fn rules(site: &dyn Site, side: &Side) -> Result<()> {
    let (router, uplink) = site.outside().hop;
    let family = side.setting.family;
    let network = family.network(Ipv4Addr::new(10, 0, 0, 0), 24);
    match side.rules() {
        Rules::None => return Ok(()),
        Rules::Iptables => {
            let program = match family {
                Family::V4 => "iptables",
                Family::V6 => "ip6tables",
            };
            let rule = ["-t", "nat", "-A", "POSTROUTING", "-o", uplink, "-s", &network, "-j", "MASQUERADE"];
            router.cmd(program).args(rule).run()?;
        }
        Rules::Nft => {
            let ip = match family {
                Family::V4 => "ip",
                Family::V6 => "ip6",
            };
            let rules = format!(
                "add table {ip} bench; \
                 add chain {ip} bench post {{ type nat hook postrouting priority srcnat; }}; \
                 add rule {ip} bench post {ip} saddr {network} oifname \"{uplink}\" masquerade"
            );
            router.cmd("nft").arg(rules).run()?;
        }
    }
    // Conntrack of a router in another namespace must not take offence at what it has not seen.
    if side.kind.is_accelerate() && router.name() != site.host().name() {
        router
            .sysctl("net.netfilter.nf_conntrack_tcp_be_liberal", "1")
            .context("cannot ready the router's conntrack")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accelerate_is_told_its_edges() {
        let toml =
            "[[accelerate]]\nedges = [\"tap0\", \"eth0\"]\n\n[datapath]\nhook = \"xdp\"\nmax_flows = 1000\n";
        assert_eq!(accelerate(["tap0", "eth0"], "xdp", 1000), toml);
    }
}
