//! What the operator is told: who gets no flow, why, and what to do about it.

use std::{collections::HashMap, net::Ipv4Addr};

use natbpf_common::{Nanoseconds, Timestamp, contract::counter::DropReason};

use super::{packet::Packet, quota::Quota};

/// Between two warnings about the same source and reason.
const SILENCE: Nanoseconds = Nanoseconds::seconds(60);

/// How many sources and reasons are named within that time: a flood with made-up sources must not fill the log.
const NAMED: usize = 32;

/// What there is room for.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Flows that the table holds.
    pub flows: u64,
    pub quota: Quota,
}

/// Whether there is something to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Name the source.
    Named,
    /// Say that there are more sources than are named.
    More,
    Nothing,
}

/// When what was said last.
#[derive(Debug, Default)]
pub struct Warnings {
    named: HashMap<(Ipv4Addr, DropReason), Timestamp>,
    more: Option<Timestamp>,
}

impl Warnings {
    /// Whether a drop is to be told now; that it is, is remembered.
    pub fn due(&mut self, source: Ipv4Addr, reason: DropReason, now: Timestamp) -> Due {
        let recent = |said: &Timestamp| now.since(*said) < SILENCE;
        if self.named.get(&(source, reason)).is_some_and(recent) {
            return Due::Nothing;
        }
        self.named.retain(|_, said| recent(said));
        if self.named.len() < NAMED {
            self.named.insert((source, reason), now);
            return Due::Named;
        }
        if self.more.as_ref().is_some_and(recent) {
            return Due::Nothing;
        }
        self.more = Some(now);
        Due::More
    }
}

/// Writes the sentence about a packet.
pub fn sentence(reason: DropReason, packet: &Packet<'_>, room: Room) -> String {
    let source = packet.source();
    let look = format!("look for a flood with `natbpf flows list -s {source}`");
    match reason {
        DropReason::TableFull => format!(
            "{source} gets no new flow: the flow table is full ({} flows); raise max_flows (counts after \
             `natbpf detach`), or see who holds them with `natbpf flows list`",
            room.flows
        ),
        DropReason::NoPort => {
            format!("{source} gets no new flow: no external port is free; widen to_ports, or {look}")
        }
        DropReason::NoAddress => format!(
            "{source} gets no new flow: the uplink has no address to translate to; \
             give it one with: ip address add ADDRESS/LENGTH dev UPLINK"
        ),
        DropReason::ProtocolCollision => format!(
            "{source} gets no flow of protocol {} to {}: another instance, or the host itself, talks to it by this \
             protocol, which has no ports to tell them apart; use one instance for it, or a tunnel over UDP",
            packet.protocol(),
            packet.destination()
        ),
        DropReason::Quota => match room.quota {
            Quota { max_flows_per_source: 0, new_flows_per_second: 0 } => format!(
                "{source} has as many flows as it may have, or begins them faster than it may: \
                 raise max_flows_per_source or new_flows_per_second, or {look}"
            ),
            Quota { max_flows_per_source: flows, new_flows_per_second: 0 } => format!(
                "{source} has as many flows as it may have ({flows}): raise max_flows_per_source, or {look}"
            ),
            Quota { max_flows_per_source: 0, new_flows_per_second: rate } => format!(
                "{source} begins flows faster than it may ({rate} a second): raise new_flows_per_second, or {look}"
            ),
            Quota { max_flows_per_source: flows, new_flows_per_second: rate } => format!(
                "{source} has as many flows as it may have ({flows}), or begins them faster than it may ({rate} a \
                 second): raise max_flows_per_source or new_flows_per_second, or {look}"
            ),
        },
        other => format!("a packet of {source} was dropped: {}", other.counter().help().trim()),
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use natbpf_common::SECOND;

    use super::*;

    const START: Timestamp = Timestamp::new(1000 * SECOND.number());

    fn source(number: u32) -> Ipv4Addr {
        Ipv4Addr::from(0x0a00_0000 + number)
    }

    #[test]
    fn once_a_minute_for_each_source_and_reason() {
        let mut warnings = Warnings::default();
        let mut due = |number, reason, now| warnings.due(source(number), reason, now);
        assert_eq!(due(11, DropReason::Quota, START), Due::Named);
        assert_eq!(due(11, DropReason::Quota, START + SILENCE - Nanoseconds::new(1)), Due::Nothing);
        assert_eq!(due(11, DropReason::TableFull, START + Nanoseconds::new(1)), Due::Named);
        assert_eq!(due(12, DropReason::Quota, START + Nanoseconds::new(1)), Due::Named);
        assert_eq!(due(11, DropReason::Quota, START + SILENCE), Due::Named);
        assert_eq!(due(12, DropReason::Quota, START + SILENCE), Due::Nothing);
    }

    #[test]
    fn made_up_sources_do_not_fill_the_log() {
        let mut warnings = Warnings::default();
        let minute = |start: Timestamp, warnings: &mut Warnings| {
            let said = (0..10_000u32).map(|number| {
                warnings.due(source(number), DropReason::NoPort, start + u64::from(number) * SECOND / 1000)
            });
            said.fold((0, 0), |(named, more), due| {
                (named + u32::from(due == Due::Named), more + u32::from(due == Due::More))
            })
        };
        assert_eq!(minute(START, &mut warnings), (NAMED as u32, 1));
        assert_eq!(warnings.named.len(), NAMED);
        assert_eq!(minute(START + 2 * SILENCE, &mut warnings), (NAMED as u32, 1));
    }

    #[test]
    fn the_sentence_names_the_source_the_limit_and_the_key() {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ipv4([10, 0, 0, 11], [203, 0, 113, 10], 63).udp(5000, 53);
        builder.write(&mut bytes, &[]).unwrap();
        let packet = Packet::parse(&bytes).unwrap();
        let said = |reason, max_flows_per_source, new_flows_per_second| {
            let quota = Quota { max_flows_per_source, new_flows_per_second };
            sentence(reason, &packet, Room { flows: 16, quota })
        };
        assert_eq!(
            said(DropReason::Quota, 65536, 0),
            "10.0.0.11 has as many flows as it may have (65536): raise max_flows_per_source, or look for a flood with \
             `natbpf flows list -s 10.0.0.11`"
        );
        assert!(
            said(DropReason::Quota, 0, 20).contains("(20 a second): raise new_flows_per_second, or look")
        );
        assert!(
            said(DropReason::Quota, 9, 20).contains("(9), or begins them faster than it may (20 a second)")
        );
        assert!(said(DropReason::Quota, 0, 0).contains("raise max_flows_per_source or new_flows_per_second"));
        assert!(said(DropReason::TableFull, 0, 0).contains("full (16 flows); raise max_flows"));
        assert!(said(DropReason::NoPort, 0, 0).contains("no external port is free; widen to_ports"));
        assert!(said(DropReason::NoAddress, 0, 0).contains("ip address add"));
        assert!(said(DropReason::ProtocolCollision, 0, 0).contains("protocol 17 to 203.0.113.10"));
        for reason in DropReason::ALL {
            assert!(said(*reason, 0, 0).contains("10.0.0.11"), "{reason:?}");
        }
    }
}
