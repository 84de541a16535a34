//! TCP connection tracking: the states of conntrack's machine (`tcp_conntracks` in
//! `nf_conntrack_proto_tcp.c`) without windows.
//!
//! Where conntrack would call a packet of a known flow invalid, the state stays as it is and the packet goes
//! on: the ends decide what is valid. A RST closes; data after it opens again, since the RST may have been
//! forged or ignored (RFC 7857 section 2.2). So does data from a side whose FIN has been seen: a side that
//! has sent a FIN sends no more data, so that FIN was forged.

use super::{Direction, State, Status};
use crate::wire::segment::{ACK, Event, FIN, PSH, RST, SYN, TcpFlags, event};

/// Where the machine goes, and whether the packet renews the idle time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state after the segment.
    pub state: State,
    /// Whether the segment renews the idle time.
    pub renews: bool,
}

/// A segment with data has these flags, of those in [`DATA_MASK`].
const DATA: TcpFlags = PSH.union(ACK);
const DATA_MASK: TcpFlags = DATA.union(RST).union(SYN);

/// Notes which side has sent a FIN, and opens a connection again that a forged FIN had begun to close. `before` is the
/// status before the segment, `status` the one that [`next`] has led to.
///
/// A segment with PSH carries data. One FIN alone can be forged by a stranger; the second one comes from the
/// other side, so a connection that both sides have closed stays closed.
#[inline(always)]
pub const fn note_fin(status: Status, before: Status, direction: Direction, flags: TcpFlags) -> Status {
    let state = status.state();
    let closing = state == State::TcpFinWait as u8 || state == State::TcpCloseWait as u8;
    if flags.intersects(FIN) {
        return if closing || state == State::TcpLastAck as u8 { status.with_fin(direction) } else { status };
    }
    let data = flags.intersection(DATA_MASK).bits() == DATA.bits();
    // Without an answer it never was open.
    if closing && data && before.has_fin(direction) && status.seen_reply() {
        return status.with_state(State::TcpEstablished as u8).without_fins();
    }
    status
}

/// The state of a flow that begins with these flags: with a SYN, or in mid-stream with a plain ACK
/// (conntrack's `tcp_loose`), which has to be answered before it counts as established. Row T18.
#[inline(always)]
pub const fn first(flags: TcpFlags) -> Option<State> {
    match event(flags) {
        Some(Event::Syn) => Some(State::TcpSynSent),
        Some(Event::Ack) => Some(State::TcpSynRecv),
        _ => None,
    }
}

/// The state after a segment. Row T02.
#[inline(always)]
pub const fn next(status: Status, direction: Direction, flags: TcpFlags) -> Transition {
    use State::{
        TcpClose, TcpCloseWait, TcpEstablished, TcpFinWait, TcpLastAck, TcpSynRecv, TcpSynSent, TcpSynSent2,
        TcpTimeWait,
    };
    let now = State::from_number(status.state());
    let original = matches!(direction, Direction::Original);
    let Some(event) = event(flags) else { return Transition { state: now, renews: false } };
    let state = match (event, now) {
        // The flow stays, and with it its port. Rows S06, V04.
        (Event::Rst, _) => TcpClose,
        // A new connection on the tuple of one that is over.
        (Event::Syn, TcpTimeWait | TcpClose) if original => TcpSynSent,
        // Row T03.
        (Event::Syn, TcpSynSent) if !original => TcpSynSent2,
        (Event::SynAck, TcpSynSent) if !original => TcpSynRecv,
        (Event::SynAck, TcpSynSent2) => TcpSynRecv,
        (Event::Ack, TcpSynRecv) if original && status.seen_reply() => TcpEstablished,
        // Rows S04, S05.
        (Event::Ack, TcpClose) if status.assured() => TcpEstablished,
        (Event::Ack, TcpFinWait) => TcpCloseWait,
        (Event::Ack, TcpLastAck) => TcpTimeWait,
        (Event::Fin, TcpSynRecv | TcpEstablished) => TcpFinWait,
        // One side's FIN again is no second one; and one alone can be forged, see `note_fin`.
        (Event::Fin, TcpFinWait | TcpCloseWait) if status.has_fin(direction.opposite()) => TcpLastAck,
        _ => now,
    };
    // A repeated SYN does not keep a half-open flow, nor a repeated RST a closed one. Row S21.
    let repeated =
        matches!((event, now, state), (Event::Syn, TcpSynSent, TcpSynSent) | (Event::Rst, TcpClose, _));
    Transition { state, renews: !repeated }
}

#[cfg(test)]
mod tests {
    use Direction::{Original, Reply};
    use proptest::prelude::*;

    use super::*;
    use crate::wire::segment::URG;
    use crate::{flow::step, time::Nanoseconds, wire::protocol};

    fn walk(segments: &[(Direction, TcpFlags)]) -> Vec<&'static str> {
        let mut status = step::first(protocol::TCP, segments[0].1).expect("a flow begins");
        let mut names = vec![State::from_number(status.state()).name()];
        for (direction, flags) in &segments[1..] {
            status = step::next(status, protocol::TCP, *direction, *flags, Nanoseconds::ZERO).status;
            names.push(State::from_number(status.state()).name());
        }
        names
    }

    const HANDSHAKE: [(Direction, TcpFlags); 3] = [(Original, SYN), (Reply, SYN.union(ACK)), (Original, ACK)];

    fn after_handshake(more: &[(Direction, TcpFlags)]) -> Vec<&'static str> {
        walk(&[&HANDSHAKE[..], more].concat()).split_off(3)
    }

    #[test]
    fn handshake_as_in_conntrack() {
        assert_eq!(walk(&HANDSHAKE), ["SYN_SENT", "SYN_RECV", "ESTABLISHED"]);
    }

    #[test]
    fn close_by_the_instance_as_in_conntrack() {
        let close = [(Original, FIN | ACK), (Reply, ACK), (Reply, FIN | ACK), (Original, ACK)];
        assert_eq!(after_handshake(&close), ["FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT"]);
    }

    #[test]
    fn half_close_stays_open_for_data() {
        let states =
            after_handshake(&[(Reply, FIN | ACK), (Original, ACK), (Original, ACK | PSH), (Reply, ACK)]);
        assert_eq!(states, ["FIN_WAIT", "CLOSE_WAIT", "CLOSE_WAIT", "CLOSE_WAIT"]);
    }

    #[test]
    fn data_after_a_forged_fin_opens_again() {
        let states =
            after_handshake(&[(Reply, FIN | ACK), (Original, ACK), (Reply, ACK | PSH), (Reply, FIN | ACK)]);
        assert_eq!(states, ["FIN_WAIT", "CLOSE_WAIT", "ESTABLISHED", "FIN_WAIT"]);
        let states = after_handshake(&[(Original, FIN | ACK), (Original, ACK | PSH)]);
        assert_eq!(states, ["FIN_WAIT", "ESTABLISHED"]);
        let closed = after_handshake(&[(Reply, FIN | ACK), (Original, FIN | ACK), (Reply, ACK | PSH)]);
        assert_eq!(closed, ["FIN_WAIT", "LAST_ACK", "TIME_WAIT"]);
        // One side's FIN, however often it is forged, is not the other's.
        let twice =
            after_handshake(&[(Reply, FIN | ACK), (Reply, FIN | ACK), (Original, ACK), (Reply, ACK | PSH)]);
        assert_eq!(twice, ["FIN_WAIT", "FIN_WAIT", "CLOSE_WAIT", "ESTABLISHED"]);
        // What was never answered is not opened by it.
        let unanswered = walk(&[(Original, ACK), (Original, FIN | ACK), (Original, ACK | PSH)]);
        assert_eq!(unanswered, ["SYN_RECV", "FIN_WAIT", "CLOSE_WAIT"]);
    }

    #[test]
    fn simultaneous_open() {
        let states = walk(&[
            (Original, SYN),
            (Reply, SYN),
            (Original, SYN | ACK),
            (Reply, SYN | ACK),
            (Original, ACK),
        ]);
        assert_eq!(states, ["SYN_SENT", "SYN_SENT2", "SYN_RECV", "SYN_RECV", "ESTABLISHED"]);
    }

    #[test]
    fn data_after_a_reset_opens_again() {
        assert_eq!(after_handshake(&[(Reply, RST), (Reply, ACK)]), ["CLOSE", "ESTABLISHED"]);
    }

    #[test]
    fn an_ack_after_a_refused_syn_opens_nothing() {
        assert_eq!(
            walk(&[(Original, SYN), (Reply, RST | ACK), (Original, ACK)]),
            ["SYN_SENT", "CLOSE", "CLOSE"]
        );
    }

    #[test]
    fn a_tuple_in_time_wait_is_reopened_by_a_syn() {
        let close = [(Original, FIN | ACK), (Reply, FIN | ACK), (Original, ACK), (Original, SYN)];
        assert_eq!(after_handshake(&close).last(), Some(&"SYN_SENT"));
    }

    #[test]
    fn a_reopened_tuple_is_unreplied_again() {
        let closed = Status::new(State::TcpClose as u8).with_seen_reply().with_assured().with_mapped();
        let reopened = step::next(closed, protocol::TCP, Original, SYN, Nanoseconds::ZERO).status;
        assert_eq!(reopened, Status::new(State::TcpSynSent as u8).with_mapped());
        let refused = step::next(reopened, protocol::TCP, Reply, RST | ACK, Nanoseconds::ZERO).status;
        let after = step::next(refused, protocol::TCP, Original, ACK, Nanoseconds::ZERO).status;
        assert_eq!(State::from_number(after.state()).name(), "CLOSE");
    }

    #[test]
    fn a_repeated_syn_does_not_renew() {
        let new = step::first(protocol::TCP, SYN).unwrap();
        assert!(!next(new, Original, SYN).renews);
        assert!(next(new, Reply, SYN | ACK).renews);
    }

    #[test]
    fn a_stream_picked_up_in_the_middle_needs_an_answer() {
        assert_eq!(walk(&[(Original, ACK), (Original, ACK)]), ["SYN_RECV", "SYN_RECV"]);
        assert_eq!(walk(&[(Original, ACK), (Reply, ACK), (Original, ACK)]).last(), Some(&"ESTABLISHED"));
    }

    #[test]
    fn nothing_but_a_syn_or_a_plain_ack_begins_a_flow() {
        for flags in (0..=u8::MAX).map(TcpFlags::from_bits_retain) {
            let begins = first(flags).is_some();
            let allowed = matches!(event(flags), Some(Event::Syn | Event::Ack));
            assert_eq!(begins, allowed, "{flags:?}");
        }
        let all = TcpFlags::from_bits_retain(0x3f);
        for odd in [TcpFlags::empty(), FIN, SYN | FIN, SYN | RST, FIN | RST, all, PSH, URG] {
            assert_eq!(event(odd), None, "{odd:?}");
        }
    }

    proptest! {
        #[test]
        fn no_segment_leads_out_of_tcp_or_loses_a_flag(state in 4..13u8, seen: bool, reply: bool, flags: u8) {
            let mut status = Status::new(state);
            if seen {
                status = status.with_seen_reply();
            }
            let direction = if reply { Reply } else { Original };
            let step = step::next(status, protocol::TCP, direction, TcpFlags::from_bits_retain(flags), Nanoseconds::ZERO);
            prop_assert!((4..13).contains(&step.status.state()));
            let reopened = step.status.state() == State::TcpSynSent as u8 && state != State::TcpSynSent as u8;
            prop_assert_eq!(step.status.seen_reply(), (seen || reply) && !reopened);
        }

        #[test]
        fn established_needs_both_directions(segments in proptest::collection::vec((any::<bool>(), any::<u8>()), 1..12)) {
            let Some(mut status) = step::first(protocol::TCP, TcpFlags::from_bits_retain(segments[0].1)) else { return Ok(()) };
            let mut replied = false;
            for (reply, flags) in &segments[1..] {
                replied |= *reply;
                let direction = if *reply { Reply } else { Original };
                status = step::next(status, protocol::TCP, direction, TcpFlags::from_bits_retain(*flags), Nanoseconds::ZERO).status;
                prop_assert!(replied || State::from_number(status.state()) != State::TcpEstablished);
            }
        }
    }
}
