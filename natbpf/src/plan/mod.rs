//! From the configuration and the interfaces as they are now to the contents of the datapath's maps, in stages.

use natbpf_common::contract::uplinks::UplinkFlags;

use crate::{config::Config, network::Snapshot};

mod announced;
mod compile;
mod contents;
mod error;
mod forward;
mod found;
mod given;
mod hook;
mod inside;
mod leading;
mod left_out;
mod offload;
mod passed;
mod placement;
mod ports;
mod reverse;
mod rules;
mod serve;
mod stacks;
#[cfg(test)]
pub(crate) mod tests;
mod uplinks;
mod value;
mod warn;

pub use compile::{DestinationEntry, SourceEntry};
pub use contents::{Place, Plan};
pub use error::PlanError;
pub use forward::ForwardEntry;
pub use found::{FoundEdge, edges};
pub use given::{Missing, Refused};
pub use hook::PlannedHook;
pub use inside::PlannedInside;
pub use left_out::LeftOut;
pub use offload::PlannedPort;
pub use placement::Placement;
pub use ports::{PortPrefix, prefixes};
pub use reverse::reverse;
pub use uplinks::PlannedUplink;

use given::Given;
use hook::Hooks;
use inside::Inside;
use offload::Ports;
use rules::Rules;
use serve::Served;
use uplinks::Uplinks;

/// Works out what the datapath has to be told.
pub fn plan(config: &Config, snapshot: &Snapshot, missing: Missing) -> Result<Plan, PlanError> {
    plan_without(config, snapshot, missing, &Refused::new())
}

/// The same without interfaces that could not be had when it was tried.
pub fn plan_without(
    config: &Config,
    snapshot: &Snapshot,
    missing: Missing,
    refused: &Refused,
) -> Result<Plan, PlanError> {
    let given = Given { config, snapshot, missing, refused };
    let uplinks = Uplinks::find(&given)?;
    let rules = Rules::compile(config, &uplinks);
    let served = Served::find(&given, &uplinks.planned, &rules.planned);
    let inside = Inside::find(&given, &uplinks, &rules.planned)?;
    let ports = Ports::find(&given, &uplinks)?;
    let hooks = Hooks::choose(&given, &uplinks.planned, &ports.planned)?;
    let warnings = warn::warnings(&given, &uplinks, &rules.planned, &served, &inside);
    let with_flags = |(mut uplink, flags): (PlannedUplink, UplinkFlags)| {
        uplink.uplink.flags = flags;
        uplink
    };
    Ok(Plan {
        uplinks: uplinks.planned.into_iter().zip(served.flags).map(with_flags).collect(),
        sources: rules.sources,
        destinations: rules.destinations,
        pools: rules.pools,
        pooled: served.pooled,
        forwards: served.forwards,
        externals: served.externals,
        inside: inside.planned,
        ports: ports.planned,
        passed: ports.passed,
        chosen: hooks.planned.clone(),
        hooks: hooks.planned,
        missing,
        left_out: [uplinks.left_out, inside.left_out].concat(),
        warnings: warnings.into_iter().chain(ports.warning).chain(hooks.warning).collect(),
    })
}

impl Config {
    /// Whether routes decide something.
    pub fn wants_routes(&self) -> bool {
        self.looks_for_inside() || self.looks_for_ports()
    }

    /// Whether packets that are repeated may pass other namespaces. natbpf's own NAT stands in this one.
    pub fn passes_namespaces(&self) -> bool {
        self.datapath.wants_offload() && !self.accelerate.is_empty()
    }
}
