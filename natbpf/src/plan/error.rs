//! What is wrong with a configuration where it meets the interfaces.

use natbpf_common::contract::uplinks::MAX_UPLINKS;

/// Why a configuration does not fit the interfaces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("there is no interface {name} in this network namespace; there are: {existing}", existing = existing.join(", "))]
    NoInterface { name: String, existing: Vec<String> },
    #[error(
        "{name} cannot be an uplink, because its packets have link layer headers of type {link_layer}; \
         natbpf knows Ethernet and devices without a header (tun, wireguard, ppp)"
    )]
    LinkLayer {
        name: String,
        /// An `ARPHRD_` number.
        link_layer: u16,
    },
    #[error("inside names {0}, which is an uplink; inside hosts send by other interfaces, so leave it out")]
    InsideUplink(String),
    #[error("inside names {0}, which is no Ethernet device; hairpinning works for hosts on Ethernet alone")]
    InsideLinkLayer(String),
    #[error("ports names {0}, which is an uplink; instances send by other devices, so leave it out")]
    PortUplink(String),
    #[error("ports names {0}, which is no Ethernet device; only those can be offloaded, so leave it out")]
    PortLinkLayer(String),
    #[error("ports names {name}, whose packets come in by {master}; name {master} instead")]
    PortOfBond { name: String, master: String },
    #[error(
        "no edge was found: there is no network card, TAP, or veth pair into another network namespace here; \
         name those that will come, for instance: natbpf accelerate 'vnet*'"
    )]
    NoEdge,
    #[error("{0} is no Ethernet device, so it cannot be an edge; leave it out")]
    EdgeLinkLayer(String),
    #[error(
        "packets come in and leave by {master}, and not by {name}, which is a part of it; name {master} instead"
    )]
    EdgeOfBond { name: String, master: String },
    #[error("{name} cannot have hook = \"xdp\", since {reason}; write hook = \"auto\" or \"tc\" for it")]
    Xdp { name: String, reason: String },
    #[error(
        "{0} is one uplink too many; an instance has at most {MAX_UPLINKS}, \
         so narrow the patterns of out, or start another natbpf with --instance"
    )]
    TooManyUplinks(String),
}
