//! ICMP: RFC 5508.

mod full;
mod gateway;
mod hairpin;
mod inside;
mod limits;
mod outside;
mod queries;
mod quoted;
mod quotes;
mod state;
mod traceroute;

use crate::conformance::row::Level::{May, Must, MustNot, Sec, Should, ShouldNot};
use crate::conformance::row::{Row, row};
use crate::test;

pub const ROWS: &[Row] = &[
    row("I01", Must, "RFC 5508 REQ-1")
        .says("ICMP queries from inside and their replies pass")
        .both(test!(queries::echo_and_its_reply_pass)),
    row("I02", Should, "RFC 5508 REQ-1a")
        .says("Query-ID mapping is external-host independent")
        .both(test!(queries::one_identifier_for_every_destination)),
    row("I03", Must, "RFC 5508 REQ-2")
        .says("ICMP query timer >= 60 s")
        .both(test!(queries::a_query_lives_a_minute)),
    row("I04", Should, "RFC 5508 REQ-2a")
        .says("ICMP timer configurable")
        .both(test!(queries::the_lifetime_can_be_set)),
    row("I05", Should, "RFC 5508 REQ-3")
        .says("ICMP error with bad ICMP checksum is silently dropped")
        .both(test!(outside::a_wrong_checksum_is_not_passed_on)),
    row("I06", Should, "RFC 5508 REQ-3a")
        .says("Embedded IP header checksum wrong: drop silently")
        .both(test!(outside::a_wrong_quoted_header_checksum_is_not_passed_on)),
    row("I07", Must, "RFC 5508 REQ-3b")
        .says("Embedded packet with IP options: skip IHL*4 to find L4")
        .both(test!(quotes::options_are_skipped)),
    row("I08", ShouldNot, "RFC 5508 REQ-3c")
        .says("Embedded L4 checksum is not validated")
        .remark("SHOULD NOT validate")
        .both(test!(quotes::a_wrong_quoted_transport_checksum_does_not_matter)),
    row("I09", Must, "RFC 5508 REQ-3d; RFC 4884")
        .says(
            "ICMP extensions after the original datagram (length field, >=128 B padded) pass unmodified \
               and are excluded from inner sums",
        )
        .both(test!(quotes::extensions_pass_as_they_are)),
    row("I10", Should, "RFC 5508 REQ-4")
        .says("Error from outside with no mapping: silent drop")
        .both(test!(outside::an_error_about_no_flow_ends_in_silence)),
    row("I11", Must, "RFC 5508 REQ-4a")
        .says("Embedded IP and L4 restored to inside form (addr, port/id, inner IP checksum)")
        .both(test!(outside::the_quoted_packet_is_the_one_sent)),
    row("I12", Must, "RFC 5508 REQ-4b")
        .says("Type and code unchanged")
        .both(test!(outside::type_and_code_stay)),
    row("I13", Must, "RFC 5508 REQ-4c")
        .says("Outer destination = restored inner source; outer SOURCE unchanged for errors from outside")
        .both(test!(outside::the_sender_of_the_error_stays)),
    row("I14", Should, "RFC 5508 REQ-5")
        .says("Error from inside with no mapping: silent drop")
        .both(test!(inside::one_about_no_flow_does_not_leave)),
    row("I15", Must, "RFC 5508 REQ-5a,5b")
        .says(
            "Error from inside about an inbound packet: inner dst/port restored to ext form; type/code \
               kept",
        )
        .both(test!(inside::one_about_a_forwarded_packet)),
    row("I16", Must, "RFC 5508 REQ-5c")
        .says("Outer source of that error = NAT's own ext IP (NAPT)")
        .both(test!(inside::it_comes_from_the_external_address)),
    row("I17", MustNot, "RFC 5508 REQ-6")
        .says("ICMP error about a query neither refreshes nor deletes that session")
        .both(test!(state::an_error_neither_refreshes_nor_ends_a_query)),
    row("I18", Must, "RFC 5508 REQ-7")
        .says("Hairpinned ICMP errors traverse")
        .both(test!(hairpin::errors_come_back)),
    row("I19", Must, "RFC 5508 REQ-7 (Basic NAT)")
        .says("1:1 NAT: hairpinned ICMP queries traverse")
        .remark("MUST for 1:1")
        .both(test!(hairpin::queries_between_floating_addresses)),
    row("I20", Must, "RFC 5508 REQ-7a")
        .says("Hairpinned error: outer dst = inner src after translation")
        .both(test!(hairpin::an_error_goes_to_whom_it_quotes)),
    row("I21", Should, "RFC 5508 REQ-8")
        .says(
            "No resources/quota for a new session: drop + ICMP 3/13 to sender (RFC6888 REQ-11B prefers \
               3/1 for CGN)",
        )
        .both(test!(full::the_sender_is_told)),
    row("I22", May, "RFC 5508 REQ-9")
        .says("Policy may suppress ICMP toward some interfaces")
        .both(test!(limits::a_rule_of_the_host_suppresses_errors))
        .note("by a rule of the gateway's filter table, with either translator"),
    row("I23", Must, "RFC 5508 REQ-10a.1")
        .says("Generates/forwards Destination Unreachable (0,1,4...)")
        .both(test!(gateway::it_says_what_is_unreachable)),
    row("I24", Must, "RFC 5508 REQ-10a.2 s7.2; RFC 1812 5.3.1")
        .says("TTL expiry: Time Exceeded 11/0 by default, option to disable per interface")
        .both(test!(gateway::it_says_where_the_hops_ended)),
    row("I25", Must, "RFC 5508 REQ-10a.3")
        .says("Echo to the gateway's own addresses answered")
        .both(test!(gateway::it_answers_pings_under_load)),
    row("I26", May, "RFC 5508 REQ-10b")
        .says(
            "Redirect, Timestamp, Source-route options, Address Mask, Parameter Problem, Router \
               discovery: optional",
        )
        .both(test!(queries::queries_that_nobody_needs_any_more)),
    row("I27", ShouldNot, "RFC 5508 REQ-10c")
        .says("Source Quench and Information Request not supported")
        .both(test!(limits::neither_source_quench_nor_information)),
    row("I28", Should, "RFC 5508 REQ-10d s7.7")
        .says("Generated ICMP copies DS class of offending packet")
        .both(test!(gateway::errors_have_the_class_of_the_packet))
        .decided("Linux writes the gateway's own errors, with precedence 6 as RFC 1812 4.3.2.5 has it"),
    row("I29", MustNot, "RFC 5508 REQ-10e; RFC 1812 4.3.2.7")
        .says(
            "Never answer with ICMP error to: ICMP error, bcast/mcast dst, link-layer bcast, non-first \
               fragment, src 0/127/bcast/mcast/class E",
        )
        .both(test!(limits::no_error_where_none_may_be))
        .decided("Linux writes the gateway's own errors, and 240.0.0.0/4 are ordinary addresses to it"),
    row("I30", Should, "RFC 5508 REQ-10f; RFC 1812 4.3.2.8")
        .says("Generated ICMP errors are rate limited")
        .both(test!(limits::errors_are_limited)),
    row("I31", May, "RFC 5508 REQ-11")
        .says("Non-query/error ICMP may be dropped")
        .both(test!(queries::other_messages_do_not_pass)),
    row("I32", Must, "RFC 792/1812")
        .says(
            "Embedded packet with only IHL+8 bytes of L4 (TCP ports+seq) is translated; no read past \
               end",
        )
        .both(test!(quotes::eight_bytes_are_enough)),
    row("I33", Should, "RFC 1812 4.3.2.3")
        .says("Generated errors quote as much as possible up to 576 B total")
        .both(test!(gateway::errors_quote_what_fits_into_576_bytes)),
    row("I34", Must, "RFC 1812 4.3.2.4")
        .says("Generated error source = address of the interface it leaves by")
        .both(test!(gateway::errors_come_from_where_they_leave)),
    row("I35", Sec, "RFC 5508 4 + privacy")
        .says("No private address appears in ANY byte of an IP/ICMP header leaving WAN (incl. embedded)")
        .both(test!(inside::no_inside_address_in_any_byte)),
];
