//! The lines of `conntrack -L` and `conntrack -E` (libnetfilter_conntrack's `snprintf_default.c`), byte for
//! byte, so that what reads those can read ours. Two fields are constant: natbpf has no marks and no
//! reference counts.

use std::{fmt, time::Duration};

use natbpf_common::{
    Port,
    contract::event::EventKind,
    flow::FlowKey,
    wire::protocol::{DCCP, GRE, ICMP, ICMP6, SCTP, TCP, UDP, UDPLITE, icmp},
};

use super::{Event, Flow};

/// The family's number, which the extended form has beside its name.
const AF_INET: u8 = 2;

/// Conntrack's name of a protocol.
pub fn protocol_name(protocol: u8) -> &'static str {
    match protocol {
        TCP => "tcp",
        UDP => "udp",
        UDPLITE => "udplite",
        SCTP => "sctp",
        ICMP => "icmp",
        ICMP6 => "icmpv6",
        GRE => "gre",
        DCCP => "dccp",
        _ => "unknown",
    }
}

/// The type that answers an ICMP query; 0 if none does.
pub fn icmp_reply(request: u8) -> u8 {
    let answers = |reply: &u8| icmp::classify(*reply) == icmp::Message::Reply(request);
    (0..=icmp::MASK_REPLY).find(answers).unwrap_or(0)
}

impl Flow {
    /// The tuple of the packets of the side that began, as they arrive, as conntrack has it: from the instance, or
    /// of a flow from outside as the client sends them.
    pub fn first(&self) -> FlowKey {
        if self.status.inbound() { self.inbound_tuple() } else { self.key }
    }

    /// The tuple of the answers, as they arrive.
    pub fn reply(&self) -> FlowKey {
        if self.status.inbound() { self.key } else { self.inbound_tuple() }
    }

    fn inbound_tuple(&self) -> FlowKey {
        self.key.peer(self.rewrite)
    }

    /// The type of the ICMP query that the flow consists of: where the port of the host that is asked would be.
    pub fn icmp_request(&self) -> u8 {
        self.first().destination_port.number() as u8
    }

    /// Everything up to the second tuple.
    fn write_start(&self, f: &mut fmt::Formatter<'_>, timeout: Option<Duration>) -> fmt::Result {
        // Row O03.
        if f.alternate() {
            write!(f, "{:<8} {} ", "ipv4", AF_INET)?;
        }
        write!(f, "{:<8} {} ", protocol_name(self.key.protocol), self.key.protocol)?;
        if let Some(timeout) = timeout {
            write!(f, "{} ", timeout.as_secs())?;
        }
        let state = self.state().name();
        if !state.is_empty() {
            write!(f, "{state} ")?;
        }
        let (first, reply) = (self.first(), self.reply());
        Self::write_tuple(f, &first, self.icmp_request(), first.source_port)?;
        // Row O02.
        f.write_str(if self.status.seen_reply() { " " } else { " [UNREPLIED] " })?;
        Self::write_tuple(f, &reply, icmp_reply(self.icmp_request()), reply.destination_port)?;
        f.write_str(if self.status.assured() { " [ASSURED]" } else { "" })
    }

    fn write_tuple(f: &mut fmt::Formatter<'_>, key: &FlowKey, icmp_type: u8, icmp_id: Port) -> fmt::Result {
        write!(f, "src={} dst={}", key.source, key.destination)?;
        match key.protocol {
            TCP | UDP => write!(f, " sport={} dport={}", key.source_port, key.destination_port),
            ICMP => write!(f, " type={icmp_type} code=0 id={icmp_id}"),
            // Keys are those of PPTP's call identifiers, which nothing here looks at.
            GRE => f.write_str(" srckey=0x0 dstkey=0x0"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Row O01.
        self.write_start(f, Some(self.remaining))?;
        f.write_str(" mark=0 use=1")
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Row O04.
        let kind = format!("[{}]", self.name().to_uppercase());
        write!(f, "{kind:>9} ")?;
        // A flow that has expired has no time left, and the kernel then sends none.
        let ended = self.kind == EventKind::Destroy && self.flow.remaining.is_zero();
        self.flow.write_start(f, (!ended).then_some(self.flow.remaining))
    }
}
