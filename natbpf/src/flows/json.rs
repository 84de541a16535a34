//! Flows and events as JSON. Scripts rely on the names.

use std::net::Ipv4Addr;

use natbpf_common::{
    flow::FlowKey,
    wire::protocol::{ICMP, TCP, UDP},
};
use serde::Serialize;

use super::{
    Event, Flow,
    format::{icmp_reply, protocol_name},
};

/// One flow. Row O09.
#[derive(Clone, Debug, Serialize)]
pub struct FlowJson {
    /// Conntrack's name, `unknown` where it has none.
    pub protocol: &'static str,
    pub protocol_number: u8,
    /// TCP only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    pub timeout_seconds: u64,
    /// Where it began: `inside` or `outside`.
    pub began: &'static str,
    /// As the packets of the side that began arrive.
    pub original: TupleJson,
    /// As the answers arrive.
    pub reply: TupleJson,
    pub seen_reply: bool,
    pub assured: bool,
    pub uplink: String,
    pub age_seconds: u64,
}

/// Addresses, and ports or the like where the protocol has them.
#[derive(Clone, Debug, Serialize)]
pub struct TupleJson {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_id: Option<u16>,
}

/// One event: a flow and what happened to it.
#[derive(Clone, Debug, Serialize)]
pub struct EventJson {
    /// `new`, `update` or `destroy`.
    pub event: &'static str,
    #[serde(flatten)]
    pub flow: FlowJson,
}

impl FlowJson {
    /// `uplink` is the name of the interface that the flow leaves by.
    pub fn new(flow: &Flow, uplink: String) -> Self {
        let (first, reply) = (flow.first(), flow.reply());
        let request = flow.icmp_request();
        Self {
            protocol: protocol_name(first.protocol),
            protocol_number: first.protocol,
            state: Some(flow.state().name()).filter(|name| !name.is_empty()),
            timeout_seconds: flow.remaining.as_secs(),
            began: if flow.status.inbound() { "outside" } else { "inside" },
            original: TupleJson::new(&first, request, first.source_port.number()),
            reply: TupleJson::new(&reply, icmp_reply(request), reply.destination_port.number()),
            seen_reply: flow.status.seen_reply(),
            assured: flow.status.assured(),
            uplink,
            age_seconds: flow.age.as_secs(),
        }
    }
}

impl TupleJson {
    fn new(key: &FlowKey, icmp_type: u8, icmp_id: u16) -> Self {
        let ports = matches!(key.protocol, TCP | UDP);
        let icmp = key.protocol == ICMP;
        Self {
            source: key.source.into(),
            destination: key.destination.into(),
            source_port: ports.then(|| key.source_port.number()),
            destination_port: ports.then(|| key.destination_port.number()),
            icmp_type: icmp.then_some(icmp_type),
            icmp_id: icmp.then_some(icmp_id),
        }
    }
}

impl EventJson {
    /// `uplink` is the name of the interface that the flow leaves by.
    pub fn new(event: &Event, uplink: String) -> Self {
        Self { event: event.name(), flow: FlowJson::new(&event.flow, uplink) }
    }
}
