//! Many subscribers: RFC 6888, and port selection, RFC 6056.

mod full;
mod limits;
mod manage;
mod pool;
mod ports;
mod seen_from;
mod transports;

use crate::conformance::row::Level::{Info, May, Must, MustNot, Should, ShouldNot};
use crate::conformance::row::{Row, row};
use crate::test;

pub const ROWS: &[Row] = &[
    row("C01", Must, "RFC 6888 REQ-1")
        .says("Every forwarded transport meets its own BEHAVE RFC")
        .both(test!(transports::every_transport_has_one_mapping_for_all))
        .note("the sections U, T and I have the rest; with `profile = \"rfc\"`"),
    row("C02", Must, "RFC 6888 REQ-2")
        .says("Paired pooling by default")
        .remark("MUST (CGN)")
        .both(test!(pool::a_subscriber_has_one_address)),
    row("C03", Should, "RFC 6888 REQ-3")
        .says("No limit on pool size/contiguity; non-contiguous ranges accepted")
        .both(test!(pool::a_pool_may_have_gaps)),
    row("C04", Must, "RFC 6888 REQ-4")
        .says("Per-subscriber limit on ports/ICMP ids")
        .remark("MUST (CGN)")
        .both(test!(limits::a_subscriber_has_a_limit_and_harms_no_other)),
    row("C05", Must, "RFC 6888 REQ-4A,B,C")
        .says("Limit configurable per subscriber; optionally per protocol; allocation RATE limit too")
        .remark("MUST / MAY / SHOULD")
        .both(test!(limits::limits_differ_and_rates_are_limited))
        .note("not for each protocol"),
    row("C06", Should, "RFC 6888 REQ-5")
        .says("State memory per mapping and per subscriber limited")
        .both(test!(limits::one_endpoint_cannot_fill_the_table)),
    row("C07", Must, "RFC 6888 REQ-6")
        .says("Translation can be turned off for given dst addresses/ports")
        .both(test!(transports::destinations_can_be_left_alone))
        .note("by address"),
    row("C08", Should, "RFC 6888 REQ-7")
        .says("EIF recommended (ADF if app unaffected)")
        .both(test!(transports::who_was_not_asked_gets_in))
        .note("with `profile = \"rfc\"`; the default is that of netfilter, for safety"),
    row("C09", ShouldNot, "RFC 6888 REQ-8")
        .says("A freed ext port is not given to another mapping for 120 s")
        .both(test!(ports::a_port_rests_before_it_is_used_again)),
    row("C10", May, "RFC 6888 REQ-8A,B,C")
        .says("Exceptions: TCP-tracked closes, static per-host ranges, APDF/ADF filtering before reuse")
        .both(test!(ports::a_port_used_again_lets_no_old_peer_in))
        .note("C applies, since filtering is address- and port-dependent unless it is configured otherwise"),
    row("C11", Must, "RFC 6888 REQ-9")
        .says("Subscriber port control (PCP)")
        .remark("MUST (CGN only)")
        .both(test!(manage::a_subscriber_is_served_by_pcp))
        .decided("ports are opened by the operator, in the configuration"),
    row("C12", Should, "RFC 6888 REQ-10")
        .says("Manageable by standard means")
        .both(test!(manage::all_can_be_read_by_programs)),
    row("C13", Must, "RFC 6888 REQ-11A")
        .says("No resources: drop the packet")
        .both(test!(full::what_finds_no_port_is_dropped)),
    row("C14", Should, "RFC 6888 REQ-11B")
        .says("and send ICMP 3/1 to sender")
        .both(test!(full::the_sender_is_told)),
    row("C15", Should, "RFC 6888 REQ-11C")
        .says("and notify the operator (event/counter)")
        .both(test!(full::the_operator_can_see_it)),
    row("C16", MustNot, "RFC 6888 REQ-11D")
        .says("Existing mappings are never deleted to make room")
        .natbpf(test!(full::running_flows_survive_a_flood_of_new_ones))
        .note("netfilter's table is one for the whole machine, so the test leaves it alone"),
    row("C17", ShouldNot, "RFC 6888 REQ-12")
        .says("Logs omit destinations by default")
        .natbpf(test!(manage::the_log_names_no_destinations)),
    row("C18", Should, "RFC 6888 REQ-13")
        .says("Port allocator maximises utilisation")
        .both(test!(ports::every_port_of_a_range_is_used)),
    row("C19", Should, "RFC 6888 REQ-14,15")
        .says("Little log volume; hard-to-guess ports")
        .both(test!(ports::little_is_logged_and_ports_are_hard_to_guess))
        .note("a port that is kept is the instance's choice; `random` changes them all"),
    row("C20", Should, "RFC 6056 s3.2")
        .says("Ephemeral/NAT port range as large as possible (1024-65535 minus reserved)")
        .both(test!(ports::all_ports_from_1024_on_are_used)),
    row("C21", Should, "RFC 6056 s3.3 alg 1-5")
        .says("Port choice uses an obfuscated algorithm when not preserving")
        .both(test!(ports::the_next_port_cannot_be_told)),
    row("C22", Should, "RFC 6056 s3")
        .says("Ports in use or known services not selected")
        .both(test!(ports::a_port_in_use_is_not_chosen)),
    row("C23", Should, "RFC 5597 REQ-1..12")
        .says(
            "DCCP: same set as TCP (EIM, filtering, 6 s, est >= 2 h 4 min, transitory >= 8 min, \
               hairpin, ICMP), partial checksum coverage respected",
        )
        .remark("SHOULD if supported")
        .both(test!(transports::dccp_does_not_leak)),
    row("C24", Info, "RFC 6146")
        .says(
            "NAT64 BIB/session model: UDP min 120 default 300, TCP est 7440, trans 240, incoming SYN 6, \
               ICMP 60 (seconds)",
        )
        .both(test!(transports::timers_are_those_of_nat64)),
];
