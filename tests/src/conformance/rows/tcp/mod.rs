//! TCP: RFC 5382.

mod bulk;
mod filtering;
pub mod lifetime;
mod mapping;
mod sequences;

use crate::conformance::row::Level::{Compat, May, Must, MustNot, Should};
use crate::conformance::row::{Row, row};
use crate::test;

pub const ROWS: &[Row] = &[
    row("T01", Must, "RFC 5382 REQ-1")
        .says("TCP mapping is endpoint-independent")
        .both(test!(mapping::one_port_for_every_destination)),
    row("T02", Must, "RFC 5382 REQ-2")
        .says(
            "All valid TCP sequences pass: handshake, options (MSS, WS, SACK, TS), data in SYN, \
               half-close, simultaneous close, RST, keep-alive, URG, ECN",
        )
        .both(test!(sequences::every_valid_segment_passes)),
    row("T03", Must, "RFC 5382 REQ-2a")
        .says("TCP simultaneous open works")
        .both(test!(sequences::both_ends_may_open_at_once)),
    row("T04", Should, "RFC 5382 REQ-3")
        .says("TCP filtering is EIF or ADF")
        .both(test!(filtering::strangers_get_in_by_the_rfc))
        .note("profile `rfc`, as U15"),
    row("T05", May, "RFC 5382 REQ-3a,3b")
        .says("TCP filtering configurable, and independently of UDP")
        .both(test!(filtering::the_operator_chooses))
        .decided("one key for both: a rule is for every protocol"),
    row("T06", MustNot, "RFC 5382 REQ-4")
        .says("No response of any kind to an unsolicited inbound SYN for >= 6 s")
        .both(test!(filtering::an_unsolicited_syn_is_not_answered))
        .note("profile `rfc`"),
    row("T07", Must, "RFC 5382 REQ-4")
        .says(
            "If an outbound SYN for that connection appears within the 6 s, the held SYN is silently \
               dropped and the connection can complete",
        )
        .both(test!(filtering::the_other_syn_may_come_first))
        .note("profile `rfc`"),
    row("T08", Should, "RFC 5382 REQ-4")
        .says("Otherwise ICMP 3/3 after >= 6 s")
        .both(test!(filtering::an_unsolicited_syn_is_answered_late))
        .decided("no SYN is held back: the gateway's stack answers at once or nobody does (REQ-4a)")
        .note("profile `rfc`"),
    row("T09", Must, "RFC 5382 REQ-4a")
        .says("Silent drop when policy forbids answers")
        .both(test!(filtering::silence_where_the_operator_wants_it))
        .note("`unsolicited = \"drop\"`; the comparison is a rule that drops in INPUT"),
    row("T10", Must, "RFC 5382 REQ-5")
        .says("Established idle timeout >= 7440 s (2 h 4 min)")
        .both(test!(lifetime::an_idle_connection_lives_two_hours))
        .note("a shorter timeout is refused in the configuration"),
    row("T11", Must, "RFC 5382 REQ-5")
        .says("Transitory (half-open/closing) idle timeout >= 240 s")
        .remark("MUST (default; see V03)")
        .both(test!(lifetime::opening_and_closing_live_four_minutes)),
    row("T12", May, "RFC 5382 REQ-5a")
        .says("TCP timeouts configurable")
        .both(test!(lifetime::the_timers_are_the_operators)),
    row("T13", MustNot, "RFC 5382 REQ-7")
        .says("No TCP port overloading")
        .both(test!(mapping::two_endpoints_share_no_port)),
    row("T14", Must, "RFC 5382 REQ-8, 8a")
        .says("TCP hairpinning, external source IP and port")
        .both(test!(mapping::a_connection_comes_round))
        .note("profile `rfc`, or `hairpin = true`"),
    row("T15", May, "RFC 5382 s5")
        .says("TIME_WAIT may be held; a new SYN with same tuple must be able to reopen")
        .remark("MAY/COMPAT")
        .both(test!(mapping::a_closed_connection_opens_again)),
    row("T16", May, "RFC 5382 s5")
        .says(
            "On abandoning a live session NAT may RST both ends or be silent; must not misdeliver \
               afterwards",
        )
        .both(test!(lifetime::a_session_given_up_reaches_nobody_else))
        .note("silent"),
    row("T17", Must, "RFC 793/9293 + GSO")
        .says("Bulk TCP with offloads on (GSO/GRO/TSO) stays correct: no bad checksum, no MTU breach")
        .both(test!(bulk::segments_are_right)),
    row("T18", Compat, "COMPAT")
        .says(
            "Mid-stream pickup: after gateway restart an existing TCP flow with a preserved port \
               continues",
        )
        .both(test!(lifetime::a_connection_is_picked_up)),
];
