//! Operation: what conntrack's tools show and do.

mod commands;
mod conservation;
mod counters;
mod flows;
mod states;
mod stun;

use crate::conformance::row::Level::{Compat, May, Sec};
use crate::conformance::row::{Row, row};
use crate::test;

pub const ROWS: &[Row] = &[
    row("O01", Compat, "conntrack -L")
        .says(
            "One line per flow with original and reply tuples in conntrack order; regex in 2.7 matches \
               100 %",
        )
        .both(test!(flows::a_line_for_each_flow_in_the_order_of_conntrack))
        .note("byte for byte what conntrack prints"),
    row("O02", Compat, "conntrack -L")
        .says(
            "[UNREPLIED] until a reply is seen; [ASSURED] for TCP after the handshake ACK, for UDP \
               after a reply AND traffic more than 2 s after creation",
        )
        .both(test!(states::unreplied_and_assured_as_conntrack_has_them)),
    row("O03", Compat, "/proc/net/nf_conntrack")
        .says("-o extended adds `ipv4     2 ` prefix")
        .both(test!(commands::the_extended_output_has_the_family_in_front)),
    row("O04", Compat, "conntrack -E")
        .says("event lines: 9-char right-aligned [NEW],[UPDATE],[DESTROY]")
        .both(test!(states::events_come_in_order_and_none_is_lost)),
    row("O05", Compat, "conntrack -D/-F/-C")
        .says("delete by filter, flush, count; exit code 0/1/2")
        .both(test!(commands::flows_are_deleted_and_counted_with_exit_statuses)),
    row("O06", Compat, "nf_conntrack_count/max")
        .says("count and max readable; 95 % warning")
        .both(test!(counters::count_and_maximum_can_be_read)),
    row("O07", Compat, "table full")
        .says("log/metric once per interval \"table full, dropping packet\" equivalent; counter exact")
        .natbpf(test!(counters::refused_flows_are_counted_exactly)),
    row("O08", Compat, "/proc/net/stat/nf_conntrack")
        .says(
            "per-CPU counters: found invalid insert insert_failed drop early_drop icmp_error \
               search_restart clashres chainlength (hex)",
        )
        .both(test!(counters::the_counters_of_conntrack_have_a_counterpart))
        .decided("`natbpf status` counts what natbpf does, one reason for each drop, in words"),
    row("O09", Compat, "-o json/xml/save")
        .says("machine output stable and versioned")
        .both(test!(commands::output_for_programs_has_fixed_names))
        .decided("names are only ever added to, so a version would say nothing"),
    row("O10", Sec, "drop reasons")
        .says("every drop increments exactly one named reason counter; sum(in)=sum(out)+sum(drop)+punt")
        .natbpf(test!(conservation::what_goes_in_comes_out_or_is_counted)),
    row("O11", May, "accounting")
        .says("per-flow packets=/bytes= both directions")
        .both(test!(counters::a_flow_counts_its_packets_and_bytes))
        .decided(
            "every packet would have to write two more words; conntrack does not either unless it is told to",
        ),
    row("O12", Compat, "STUN tools")
        .says(
            "turnutils_natdiscovery -m -f -H -t -c against turnserver with two IPs reports the \
               configured type",
        )
        .both(test!(stun::the_configured_type_is_discovered)),
];
