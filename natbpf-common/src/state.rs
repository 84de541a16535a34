//! States of a flow, their names and their timeouts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    Nanoseconds, SECOND,
    flow::{Direction, Status},
    protocol::{ICMP, TCP, UDP},
    tcp,
};

macro_rules! states {
    ($($(#[$doc:meta])* $state:ident = $number:literal, $name:literal, $key:literal, $seconds:literal, $floor:literal;)*) => {
        /// The state of a flow. TCP's are those of conntrack, less the window.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum State {
            $($(#[$doc])* $state = $number,)*
        }

        impl State {
            /// All of them; each stands at the index that is its number.
            pub const ALL: &[Self] = &[$(Self::$state,)*];

            /// Conntrack's name; empty where conntrack prints none.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$state => $name,)* }
            }

            /// Key of its idle timeout in the configuration's `[timeouts]`.
            pub const fn timeout_key(self) -> &'static str {
                match self { $(Self::$state => $key,)* }
            }

            /// Idle timeout in seconds where none is configured: at or above what the RFCs ask for.
            pub const fn default_timeout(self) -> u64 {
                match self { $(Self::$state => $seconds,)* }
            }

            /// The shortest idle timeout in seconds that the RFCs allow by configuration; 1 where they leave
            /// it open.
            pub const fn shortest_timeout(self) -> u64 {
                match self { $(Self::$state => $floor,)* }
            }
        }
    };
}

states! {
    /// RFC 4787 REQ-5: at least 2 minutes, 5 recommended.
    UdpUnreplied = 0, "", "udp", 300, 120;
    UdpStream = 1, "", "udp_stream", 300, 120;
    /// RFC 5508 REQ-2: at least 60 seconds.
    Icmp = 2, "", "icmp", 60, 60;
    Other = 3, "", "other", 600, 1;
    /// RFC 5382 REQ-5: 4 minutes for a connection that is opening or closing; RFC 7857 section 2.1 lets the
    /// operator lower it.
    TcpSynSent = 4, "SYN_SENT", "tcp_syn_sent", 240, 1;
    TcpSynRecv = 5, "SYN_RECV", "tcp_syn_recv", 240, 1;
    /// RFC 5382 REQ-5: at least 2 hours and 4 minutes.
    TcpEstablished = 6, "ESTABLISHED", "tcp_established", 7440, 7440;
    TcpFinWait = 7, "FIN_WAIT", "tcp_fin_wait", 240, 1;
    TcpCloseWait = 8, "CLOSE_WAIT", "tcp_close_wait", 240, 1;
    TcpLastAck = 9, "LAST_ACK", "tcp_last_ack", 240, 1;
    TcpTimeWait = 10, "TIME_WAIT", "tcp_time_wait", 240, 1;
    /// RFC 7857 section 2.2: a RST leaves the flow in place for 4 minutes.
    TcpClose = 11, "CLOSE", "tcp_close", 240, 1;
    /// Simultaneous open.
    TcpSynSent2 = 12, "SYN_SENT2", "tcp_syn_sent2", 240, 1;
}

impl State {
    /// Number of states.
    pub const COUNT: usize = Self::ALL.len();

    /// The state of a number; what is no number of one, which nothing writes, counts as [`State::Other`].
    pub const fn from_number(number: u8) -> Self {
        if (number as usize) < Self::COUNT { Self::ALL[number as usize] } else { Self::Other }
    }
}

/// Idle timeouts, one a state. The array is longer than there are states, so that a mask keeps an index
/// inside.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timeouts([Nanoseconds; 16]);

impl Timeouts {
    /// The timeout of a flow.
    #[inline(always)]
    pub const fn of(&self, status: Status) -> Nanoseconds {
        self.0[(status.state() & 15) as usize]
    }

    pub fn set(&mut self, state: State, timeout: Nanoseconds) {
        self.0[state as usize] = timeout;
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let mut all = [SECOND; 16];
        for state in State::ALL {
            all[*state as usize] = state.default_timeout() * SECOND;
        }
        Self(all)
    }
}

/// How long a flow has to be idle before it gives way, if it was answered; and any flow of a source that has as many as it may have.
/// Netfilter has no such limits, so whoever sends in another's name must not be able to keep him from beginning anything.
pub const PATIENCE: Nanoseconds = 5 * SECOND;

/// Whether a flow that has been idle for so long gives way to a new one where there is no room for both (netfilter: `early_drop`,
/// `tcp_can_early_drop`): whose time is over, that was never answered, that was answered and no more (a question of DNS), and a connection
/// that both sides have closed. `own`: for another one of the same source. What runs never does (RFC 6888, REQ-11), nor does for others
/// what a RST has closed that ran before: that may have been forged.
#[inline(always)]
pub const fn gives_way(status: Status, idle: Nanoseconds, timeout: Nanoseconds, own: bool) -> bool {
    if idle > timeout {
        return true;
    }
    let state = status.state();
    let closed = state == State::TcpTimeWait as u8
        || state == State::TcpLastAck as u8
        || own && state == State::TcpClose as u8;
    match status.seen_reply() {
        false => !own || idle >= PATIENCE,
        true => (closed || !status.assured()) && idle >= PATIENCE,
    }
}

/// A UDP flow is a stream (and assured) when traffic goes on this long after it began
/// (`nf_conntrack_udp_packet`).
pub const UDP_STREAM_AGE: Nanoseconds = 2 * SECOND;

/// What a packet does to its flow's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub status: Status,
    /// Whether the packet renews the idle time.
    pub renews: bool,
}

/// The status of a new flow; `None` where no flow may begin with such a packet.
#[inline(always)]
pub const fn first(protocol: u8, tcp_flags: u8) -> Option<Status> {
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
    tcp_flags: u8,
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
        UDP if before.seen_reply() && flow_age > UDP_STREAM_AGE => {
            status = status.with_state(State::UdpStream as u8).with_assured();
        }
        _ => {}
    }
    Step { status, renews }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::GRE;

    #[test]
    fn states_stand_at_their_numbers() {
        for (number, state) in State::ALL.iter().enumerate() {
            assert_eq!(*state as usize, number);
            assert_eq!(State::from_number(number as u8), *state);
            assert!(state.default_timeout() >= state.shortest_timeout());
        }
        assert_eq!(State::from_number(200), State::Other);
    }

    #[test]
    fn what_runs_gives_way_to_nobody() {
        let hour = 3600 * SECOND;
        let asked = Status::new(State::UdpUnreplied as u8);
        assert!(gives_way(asked, 0, hour, false) && !gives_way(asked, 4 * SECOND, hour, true));
        assert!(gives_way(asked, 5 * SECOND, hour, true));
        let answered = asked.with_seen_reply();
        let running = answered.with_state(State::UdpStream as u8).with_assured();
        for own in [false, true] {
            assert!(
                !gives_way(answered, 4 * SECOND, hour, own) && gives_way(answered, 5 * SECOND, hour, own)
            );
            assert!(!gives_way(running, hour, hour, own) && gives_way(running, hour + 1, hour, own));
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
        let step = |status, direction, age| next(status, UDP, direction, 0, age).status;
        let new = first(UDP, 0).unwrap();
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
        let new = first(GRE, 0).unwrap();
        let step = next(new, GRE, Direction::Reply, 0, 0);
        assert_eq!(step, Step { status: new.with_seen_reply(), renews: true });
        assert_eq!(next(step.status, GRE, Direction::Original, 0, 9 * SECOND).status, step.status);
    }
}
