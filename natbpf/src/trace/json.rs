//! JSON; docs/schema/trace.json describes it.

use natbpf_common::contract::counter::Counter;
use serde::Serialize;

use super::{View, packet::Packet, verdict};

#[derive(Debug, Serialize)]
struct Line<'a> {
    time: String,
    device: &'a str,
    device_index: u32,
    hook: &'a str,
    direction: &'a str,
    stage: &'a str,
    cpu: u32,
    passage: u64,
    length: u32,
    captured: usize,
    vlan: Option<u16>,
    gso_size: Option<u32>,
    gso_segments: Option<u32>,
    packet: Option<&'a Packet>,
    verdict: Option<&'a str>,
    target: Option<&'a str>,
    reason: Option<&'a str>,
    counted: Vec<&'a str>,
}

/// One object.
pub fn json(view: &View) -> serde_json::Result<String> {
    let sight = &view.seen.sight;
    serde_json::to_string(&Line {
        time: humantime::format_rfc3339_nanos(view.time).to_string(),
        device: &view.device,
        device_index: sight.interface.number(),
        hook: view.spot().name(),
        direction: if view.spot().is_egress() { "egress" } else { "ingress" },
        stage: view.stage(),
        cpu: sight.cpu,
        passage: sight.passage,
        length: view.length,
        captured: view.frame.len(),
        vlan: view.vlan(),
        gso_size: view.segments().map(|(size, _)| size),
        gso_segments: view.segments().and_then(|(_, count)| count),
        packet: view.packet.as_ref(),
        verdict: view.verdict.map(verdict::Verdict::name),
        target: view.target.as_deref(),
        reason: view.verdict.and_then(verdict::Verdict::reason).map(Counter::name),
        counted: verdict::counted(sight).map(Counter::name).collect(),
    })
}
