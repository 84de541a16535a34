//! Whose packets are translated, and how.

use ipnet::Ipv4Net;

use super::{AddressPool, Behaviour, Interfaces, Networks, Ports};

/// One `[[masquerade]]`, or the arguments of `natbpf masquerade`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasqueradeRule {
    /// The uplinks.
    pub out: Interfaces,
    pub sources: Networks,
    pub destinations: Networks,
    pub action: Action,
}

/// What becomes of what a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Masquerade(Translation),
    /// It is left alone.
    Exempt,
}

/// How a rule translates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// Destinations left alone.
    pub except: Vec<Ipv4Net>,
    pub behaviour: Behaviour,
    /// With hairpin: the interfaces where inside hosts are; empty: to be found by address and route.
    pub inside: Vec<String>,
    /// The inside ports whose traffic is offloaded; empty: to be found by address and route.
    pub ports: Vec<Interfaces>,
    /// `None`: the uplink's address.
    pub pool: Option<AddressPool>,
    /// External TCP and UDP ports; `None`: those of the source port's class.
    pub to_ports: Option<Ports>,
    /// A random external port for every mapping.
    pub random: bool,
    /// How many flows a source may begin in a second; 0: no limit.
    pub new_flows_per_second: u32,
}

impl Translation {
    /// More than a processor can begin.
    pub const MAX_RATE: u32 = 1_000_000;
}
