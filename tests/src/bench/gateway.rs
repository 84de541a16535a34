//! What a side puts into the gateway of a lab.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};

use super::bare::Bare;
use super::side::{Kind, Side};
use crate::addresses::{GATEWAY, INSIDE};
use crate::gateway::nat;
use crate::gateway::natbpf::Natbpf;
use crate::gateway::rule::Rule;
use crate::topology::Lab;

/// A side at work; dropping it ends what runs.
#[derive(Debug)]
#[expect(dead_code, reason = "what runs is kept for its end")]
pub enum Running {
    /// The kernel alone, with rules or without.
    Kernel,
    Natbpf(Natbpf),
    Bare(Bare),
}

impl Running {
    pub fn start(lab: &Lab, side: &Side) -> Result<Self> {
        match side.kind {
            Kind::Plain => {}
            Kind::Iptables => {
                lab.translate(nat::Kind::Iptables, &[Rule::new("wan").source(INSIDE)]).map(drop)?;
            }
            Kind::Nft => nft(lab)?,
            Kind::Edge | Kind::Offload | Kind::Xdp => {
                let (path, args) = side.natbpf.as_ref().context("a natbpf to start")?;
                return Ok(Self::Natbpf(lab.natbpf_cli()?.binary(path).start(args)?));
            }
            Kind::BareTc | Kind::BarePeer | Kind::BareXdp => {
                return Ok(Self::Bare(Bare::start(lab, side.kind)?));
            }
        }
        Ok(Self::Kernel)
    }
}

/// What packets come from outside, unspecified for a side that does not translate.
pub fn external(side: &Side) -> Ipv4Addr {
    if side.kind.translates() { GATEWAY } else { Ipv4Addr::UNSPECIFIED }
}

fn nft(lab: &Lab) -> Result<()> {
    let rules = format!(
        "add table ip bench; \
         add chain ip bench post {{ type nat hook postrouting priority srcnat; }}; \
         add rule ip bench post ip saddr {INSIDE} oifname \"wan\" masquerade"
    );
    lab.gw.cmd("nft").arg(rules).run()
}
