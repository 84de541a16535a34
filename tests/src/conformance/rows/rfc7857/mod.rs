//! What RFC 7857 changed in the rules for TCP, UDP and ICMP.

mod mapping;
mod packets;
mod refresh;
mod states;

use crate::conformance::row::Level::{May, Must, Should, ShouldNot};
use crate::conformance::row::{Row, row};
use crate::test;

pub const ROWS: &[Row] = &[
    row("V01", Should, "RFC 7857 s2")
        .says("A TCP state machine like RFC6146's is implemented")
        .both(test!(states::they_follow_the_segments))
        .note("the states are conntrack's"),
    row("V02", Should, "RFC 7857 s2.1")
        .says("Separate settings for opening and closing idle timers")
        .both(test!(states::opening_and_closing_have_their_own)),
    row("V03", Should, "RFC 7857 s2.1")
        .says("Default transitory timers >= 240 s; operator may lower")
        .remark("SHOULD (default) / MAY lower")
        .both(test!(states::four_minutes_unless_the_operator_wants_less)),
    row("V04", Must, "RFC 7857 s2.2")
        .says("A RST matching a mapping is translated; state kept 240 s if no packet follows")
        .remark("MUST translate / SHOULD wait")
        .both(test!(states::a_reset_is_passed_on_and_may_have_been_forged)),
    row("V05", May, "RFC 7857 s3")
        .says(
            "Same ext port may serve different inside endpoints if destinations differ (port \
               overlapping, 5-tuple state)",
        )
        .both(test!(mapping::a_port_may_serve_several_towards_different_servers))
        .note("with `address-and-port-dependent` mapping; by default only when ports run out"),
    row("V06", Should, "RFC 7857 s4")
        .says("Paired pooling when the paired IP is out of ports: behaviour defined/configurable")
        .both(test!(mapping::an_address_without_ports_is_not_left))
        .note(
            "natbpf drops; the comparison is SNAT to a range of addresses \
             (with `--persistent` it would meet this)",
        ),
    row("V07", Should, "RFC 7857 s5")
        .says("EIM state is per protocol (TCP:5000 and UDP:5000 independent); merge optional")
        .both(test!(mapping::tcp_and_udp_are_two_things)),
    row("V08", Should, "RFC 7857 s6")
        .says("EIF is per protocol: a UDP mapping does not open the TCP port")
        .both(test!(mapping::udp_opens_no_port_of_tcp))
        .note("profile `rfc`"),
    row("V09", Should, "RFC 7857 s7")
        .says("EIF inbound refresh configurable")
        .both(test!(refresh::a_stranger_renews_where_the_operator_wants))
        .note("`inbound_refresh`; off in the profile `rfc`"),
    row("V10", ShouldNot, "RFC 7857 s7 (outbound errors)")
        .says("Outbound RST or ICMP error sent in answer to inbound does not refresh")
        .both(test!(refresh::a_refusal_does_not))
        .note("with `inbound_refresh = false`, as in the profile `rfc`; otherwise what is answered renews"),
    row("V11", May, "RFC 7857 s8")
        .says("Parity may be off; explicit request for a pair supported if PCP is")
        .remark("MAY/SHOULD")
        .none("parity is kept (U07), and pairs are asked for by PCP, which natbpf does not speak"),
    row("V12", Should, "RFC 7857 s9; RFC 6056 s4")
        .says("Port randomisation available; on/off configurable")
        .both(test!(mapping::ports_are_spread_at_random))
        .note("`random`; off by default (U06)"),
    row("V13", Should, "RFC 7857 s10; RFC 6864 5.3.1")
        .says(
            "IP ID of non-atomic translated packets stays unique per (src,dst,proto) within MDL: two \
               hosts with same ID to one dst must not collide",
        )
        .both(test!(packets::fragments_of_two_hosts_are_not_mixed_up)),
    row("V14", May, "RFC 7857 s11")
        .says("ICMP query mapping may be dropped once its last session ends")
        .none("a permission: an identifier is free some seconds after its last flow has ended"),
    row("V15", Should, "RFC 7857 s12")
        .says("Hairpinning of ICMP query sessions also for NAPT (clarifies REQ-7)")
        .both(test!(packets::an_echo_request_comes_round))
        .decided("echo requests to the gateway's own address are the gateway's to answer (I25)")
        .note("profile `rfc`; hairpinned to a floating address (I19)"),
];
