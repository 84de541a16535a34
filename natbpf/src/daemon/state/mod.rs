//! What a running daemon knows.

use std::{collections::BTreeSet, fs::File, sync::Arc};

use natbpf_common::{IfIndex, contract::counter::Counters};
use nix::fcntl::Flock;
use tokio::time::Instant;

use super::{Options, house::House, obstacles::Sentry, resting::Resting};
use crate::{
    announce::Announcer,
    config::Config,
    datapath::{Loaded, Role, Tables},
    network::Surroundings,
    notices::Notices,
    plan::{FoundEdge, Plan},
};

mod leases;
mod offloading;
mod others;
mod refusals;
mod rota;
mod xdp;

pub use leases::Leases;
pub use offloading::Offloading;
pub use others::{Others, concerns};
pub use refusals::Refusals;
pub use rota::Rota;
pub use xdp::XdpState;

/// A running daemon.
pub struct Daemon {
    pub options: Options,
    pub config: Arc<Config>,
    pub loaded: Loaded,
    pub tables: Tables,
    pub house: House,
    pub notices: Notices,
    pub plan: Plan,
    /// The datapath is what the plan says. Not so at the start, and after a change that failed half way.
    pub in_force: bool,
    /// It has been, and other things are to be done beside making it so.
    pub started: bool,
    pub announcer: Announcer,
    pub offloading: Offloading,
    pub others: Others,
    /// Ends with the daemon.
    pub sentry: Sentry,
    pub resting: Resting,
    pub xdp: XdpState,
    pub refusals: Refusals,
    pub rota: Rota,
    pub leases: Leases,
    pub surroundings: Surroundings,
    /// What the operator was told of devices that may be edges.
    pub edges: Vec<FoundEdge>,
    /// Where natbpf is already, as far as it goes: left by an earlier daemon, or somebody has taken programs off.
    /// Until all of it is there again nobody asks who else has come meanwhile.
    pub claimed: BTreeSet<(IfIndex, Role)>,
    /// Interfaces of the plan are gone, which is not followed yet.
    pub gone: bool,
    /// Since the last look.
    pub interfaces_changed: bool,
    /// Interfaces whose filters or qdiscs have changed since they were looked at.
    pub filters_changed: BTreeSet<IfIndex>,
    /// Those where looking has failed.
    pub filters_failed: BTreeSet<IfIndex>,
    /// Why it has.
    pub filters_failure: Option<String>,
    /// Nothing of this is looked at before.
    pub due: Instant,
    pub routes_changed: bool,
    /// They are not looked at before.
    pub routes_due: Instant,
    /// Why the last change could not be followed; it is tried again.
    pub failure: Option<String>,
    pub adopted: bool,
    pub counters: Counters,
    pub _lock: Flock<File>,
}
