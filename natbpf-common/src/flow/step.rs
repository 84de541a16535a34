//! What a packet does to its flow, and which flows give way to others.

use super::{State, Status, key::Direction, tcp};
use crate::{
    time::Nanoseconds,
    wire::{
        protocol::{ICMP, TCP, UDP},
        segment::TcpFlags,
    },
};

/// How long a flow has to be idle before it gives way, if it was answered; and any flow of a source that has
/// as many as it may have. Netfilter has no such limits, so packets with a forged source must not keep the
/// real source from beginning flows.
pub const PATIENCE: Nanoseconds = Nanoseconds::seconds(5);

/// Whether a flow that has been idle for so long gives way to a new one where there is no room for both (netfilter:
/// `early_drop`, `tcp_can_early_drop`). `own`: the new flow is one of the same source.
///
/// Four kinds of flows give way: those whose time is over, those that were never answered, those that were answered
/// and did not go on (a question of DNS), and connections that both sides have closed. A flow that runs never
/// does (RFC 6888, REQ-11). A connection that ran until a RST does so only for its own source: that RST may
/// have been forged. Row C16.
#[inline(always)]
pub const fn gives_way(status: Status, idle: Nanoseconds, timeout: Nanoseconds, own: bool) -> bool {
    if idle.number() > timeout.number() {
        return true;
    }
    let state = status.state();
    let closed = state == State::TcpTimeWait as u8
        || state == State::TcpLastAck as u8
        || own && state == State::TcpClose as u8;
    match status.seen_reply() {
        false => !own || idle.number() >= PATIENCE.number(),
        true => (closed || !status.assured()) && idle.number() >= PATIENCE.number(),
    }
}

/// A UDP flow is a stream (and assured) when traffic goes on this long after it began
/// (`nf_conntrack_udp_packet`). Row O02.
pub const UDP_STREAM_AGE: Nanoseconds = Nanoseconds::seconds(2);

/// What a packet does to its flow's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The status after the packet.
    pub status: Status,
    /// Whether the packet renews the idle time.
    pub renews: bool,
}

/// The status of a new flow; `None` where no flow may begin with such a packet.
#[inline(always)]
pub const fn first(protocol: u8, tcp_flags: TcpFlags) -> Option<Status> {
    let state = match protocol {
        TCP => match tcp::first(tcp_flags) {
            Some(state) => state,
            None => return None,
        },
        UDP => State::UdpUnreplied,
        ICMP => State::Icmp,
        _ => State::Other,
    };
    Some(Status::new(state as u8))
}

/// The status after one more packet. `flow_age` is the time since the flow began.
#[inline(always)]
pub const fn next(
    status: Status,
    protocol: u8,
    direction: Direction,
    tcp_flags: TcpFlags,
    flow_age: Nanoseconds,
) -> Step {
    let before = status;
    let direction = status.seen_by_protocol(direction);
    let mut status = match direction {
        Direction::Original => status,
        Direction::Reply => status.with_seen_reply(),
    };
    let mut renews = true;
    match protocol {
        TCP => {
            let step = tcp::next(status, direction, tcp_flags);
            // Another connection on the same tuple has seen nothing yet.
            let reopened =
                matches!(step.state, State::TcpSynSent) && before.state() != State::TcpSynSent as u8;
            status = if reopened {
                status.reopened(step.state as u8)
            } else {
                status.with_state(step.state as u8)
            };
            renews = step.renews;
            status = tcp::note_fin(status, before, direction, tcp_flags);
            if status.state() == State::TcpEstablished as u8 && status.seen_reply() {
                status = status.with_assured();
            }
        }
        UDP if before.seen_reply() && flow_age.number() > UDP_STREAM_AGE.number() => {
            status = status.with_state(State::UdpStream as u8).with_assured();
        }
        _ => {}
    }
    Step { status, renews }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{time::SECOND, wire::protocol::GRE};

    const NONE: TcpFlags = TcpFlags::empty();

    #[test]
    fn what_runs_gives_way_to_nobody() {
        let hour = 3600 * SECOND;
        let asked = Status::new(State::UdpUnreplied as u8);
        assert!(
            gives_way(asked, Nanoseconds::ZERO, hour, false) && !gives_way(asked, 4 * SECOND, hour, true)
        );
        assert!(gives_way(asked, 5 * SECOND, hour, true));
        let answered = asked.with_seen_reply();
        let running = answered.with_state(State::UdpStream as u8).with_assured();
        for own in [false, true] {
            assert!(
                !gives_way(answered, 4 * SECOND, hour, own) && gives_way(answered, 5 * SECOND, hour, own)
            );
            assert!(
                !gives_way(running, hour, hour, own)
                    && gives_way(running, hour + Nanoseconds::new(1), hour, own)
            );
        }
        // A RST in answer to a SYN, and one in a connection, which may be forged.
        let refused = answered.with_state(State::TcpClose as u8);
        assert!(gives_way(refused, 5 * SECOND, hour, false));
        let reset = running.with_state(State::TcpClose as u8);
        assert!(!gives_way(reset, 60 * SECOND, hour, false) && gives_way(reset, 5 * SECOND, hour, true));
        for (state, over) in [
            (State::TcpTimeWait, true),
            (State::TcpLastAck, true),
            (State::TcpFinWait, false),
            (State::TcpEstablished, false),
        ] {
            assert_eq!(
                gives_way(running.with_state(state as u8), 5 * SECOND, hour, false),
                over,
                "{state:?}"
            );
        }
    }

    #[test]
    fn udp_is_assured_by_a_reply_and_traffic_after_two_seconds() {
        let step = |status, direction, age| next(status, UDP, direction, NONE, age).status;
        let new = first(UDP, NONE).unwrap();
        assert!(!new.seen_reply());
        let long_unreplied = step(new, Direction::Original, 10 * SECOND);
        assert!(!long_unreplied.assured() && !long_unreplied.seen_reply());
        let replied = step(new, Direction::Reply, SECOND / 2);
        assert!(replied.seen_reply() && !replied.assured());
        let early = step(replied, Direction::Original, SECOND);
        assert!(!early.assured());
        let late = step(replied, Direction::Original, 3 * SECOND);
        assert!(late.assured());
        assert_eq!(State::from_number(late.state()), State::UdpStream);
    }

    #[test]
    fn other_protocols_only_learn_of_the_reply() {
        let new = first(GRE, NONE).unwrap();
        let step = next(new, GRE, Direction::Reply, NONE, Nanoseconds::ZERO);
        assert_eq!(step, Step { status: new.with_seen_reply(), renews: true });
        assert_eq!(next(step.status, GRE, Direction::Original, NONE, 9 * SECOND).status, step.status);
    }
}
