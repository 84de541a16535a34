//! Rules of the host that have to see every packet: limits, quotas, queues to programs, helpers of conntrack and the
//! like. Packets that are repeated go past them, so the traffic that they are about is left to the kernel.
//!
//! | | |
//! |---|---|
//! | `model` | rules, whoever wrote them, as far as they matter here |
//! | `nft`, `legacy`, `xt` | reading them: nf_tables by netlink, ip_tables by sockets, extensions of both |
//! | `judge` | which of them running flows come to |
//! | `reserved` | the traffic of those, as the datapath knows it |

use std::{fs::File, io};

use anyhow::{Context as _, Result};

use crate::netns::inside;

mod judge;
mod legacy;
mod model;
mod nft;
mod obstacle;
mod reserved;
mod traffic;
mod xt;

pub use nft::generation;
pub use obstacle::Obstacle;
pub use reserved::reserved;
pub use traffic::{Family, Traffic};

/// All of them in the network namespace of the calling thread, in order.
pub fn look() -> Result<Vec<Obstacle>> {
    let mut found = look_at_nftables()?;
    found.extend(look_at_legacy()?);
    found.sort();
    Ok(found)
}

/// All of them in another one, whose name stands before the place of each.
pub fn look_in(namespace: &File, name: &str) -> Result<Vec<Obstacle>> {
    let found = inside(namespace, || look().map_err(io::Error::other));
    let mut found =
        found.with_context(|| format!("cannot look at the rules of the network namespace {name}"))?;
    for one in &mut found {
        one.place = format!("{name}: {}", one.place);
    }
    Ok(found)
}

/// Those of nf_tables, which tells of changes.
pub fn look_at_nftables() -> Result<Vec<Obstacle>> {
    Ok(judge::judge(&nft::tables().context("cannot read the rules of nftables")?))
}

/// Those of ip_tables and ip6_tables, which do not.
pub fn look_at_legacy() -> Result<Vec<Obstacle>> {
    Ok(judge::judge(&legacy::tables().context("cannot read the rules of iptables-legacy")?))
}
