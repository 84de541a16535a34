//! UDP: RFC 4787.

mod checksum;
mod errors;
pub mod filtering;
mod fragments;
mod hairpin;
pub mod lifetime;
mod mapping;
mod overlap;
mod payload;
mod ports;
mod size;

use crate::conformance::row::Level::{Compat, May, Must, Should};
use crate::conformance::row::{Row, row};
use crate::test;

pub const ROWS: &[Row] = &[
    row("U01", Must, "RFC 4787 REQ-1")
        .says(
            "UDP mapping is endpoint-independent: one (int IP,int port) keeps one (ext IP,ext port) for \
               every destination",
        )
        .both(test!(mapping::one_port_for_every_destination)),
    row("U02", Should, "RFC 4787 REQ-2")
        .says("With >1 external IP, all flows of one inside IP use the same external IP (paired pooling)")
        .both(test!(ports::all_flows_of_a_host_have_one_address))
        .note(
            "MASQUERADE has one address; the comparison is SNAT to a range of four \
             (with `--persistent` it would meet this)",
        ),
    row("U03", Must, "RFC 4787 REQ-3")
        .says(
            "No port overloading: two inside endpoints contacting the same destination both work, on \
               distinct ext ports",
        )
        .both(test!(mapping::two_endpoints_share_no_port)),
    row("U04", Must, "RFC 4787 REQ-3 strict (see V05)")
        .says(
            "In EIM mode an ext (IP,port,proto) belongs to at most one inside endpoint even toward \
               different destinations",
        )
        .remark("MUST in EIM mode")
        .both(test!(ports::a_port_has_one_owner_towards_everybody)),
    row("U05", Should, "RFC 4787 REQ-3a")
        .says("Source port 0-1023 maps to 0-1023; 1024-65535 maps to 1024-65535")
        .both(test!(ports::a_moved_port_stays_in_its_class)),
    row("U06", Compat, "operator expectation")
        .says("Source port is preserved when free")
        .both(test!(mapping::a_free_port_is_kept)),
    row("U07", Should, "RFC 4787 REQ-4, updated RFC 7857 s8")
        .says("Port parity preserved (even to even, odd to odd) - RFC7857 lets a NAT disable it")
        .remark("SHOULD (MAY disable)")
        .both(test!(ports::a_moved_port_keeps_its_parity)),
    row("U08", Must, "RFC 4787 REQ-5")
        .says("UDP mapping lives >= 120 s after the last refresh")
        .both(test!(lifetime::a_mapping_lives_two_minutes))
        .note("a shorter timeout is refused in the configuration"),
    row("U09", May, "RFC 4787 REQ-5a")
        .says("Shorter timer allowed only per IANA app on dst port 0-1023 (e.g. DNS 53)")
        .both(test!(lifetime::shorter_for_well_known_ports_alone))
        .note("natbpf has one timer for all ports"),
    row("U10", May, "RFC 4787 REQ-5b")
        .says("UDP timer is configurable")
        .both(test!(lifetime::the_timers_are_the_operators)),
    row("U11", Should, "RFC 4787 REQ-5c")
        .says("Default UDP timer >= 300 s")
        .both(test!(lifetime::a_mapping_lives_five_minutes_by_default)),
    row("U12", Must, "RFC 4787 REQ-6")
        .says("Outbound packets refresh the mapping")
        .both(test!(lifetime::packets_from_inside_keep_it_alive)),
    row("U13", May, "RFC 4787 REQ-6a; RFC 7857 s7")
        .says(
            "Inbound refresh optional; if EIF, must be switchable so an outsider cannot hold a mapping \
               forever",
        )
        .both(test!(lifetime::packets_from_outside_renew_where_the_operator_wants))
        .note("`inbound_refresh`; off in the profile `rfc`"),
    row("U14", Must, "RFC 4787 REQ-7")
        .says("LAN and dynamically configured WAN overlapping: either avoid or still translate")
        .both(test!(overlap::an_uplink_may_be_in_the_inside_network))
        .note(
            "translated where routes tell the two networks apart; the test sets a host route and proxy ARP",
        ),
    row("U15", Should, "RFC 4787 REQ-8")
        .says("Filtering is EIF (transparency) or ADF (security)")
        .both(test!(filtering::strangers_get_in_by_the_rfc))
        .note("profile `rfc`; the default filters by address and port, as MASQUERADE does"),
    row("U16", May, "RFC 4787 REQ-8a")
        .says("Filtering mode is an administrator option")
        .both(test!(filtering::the_operator_chooses)),
    row("U17", Must, "RFC 4787 REQ-9")
        .says("Hairpinning works for UDP")
        .both(test!(hairpin::a_datagram_comes_round_and_so_does_the_answer))
        .note("profile `rfc`, or `hairpin = true`"),
    row("U18", Must, "RFC 4787 REQ-9a")
        .says("Hairpinned packet shows the sender's external IP and port as source")
        .both(test!(hairpin::it_comes_from_the_external_endpoint))
        .note("profile `rfc`, or `hairpin = true`"),
    row("U19", Should, "RFC 4787 REQ-10; RFC 5382 REQ-6")
        .says(
            "No ALG active by default (payload never rewritten; no expectation pinholes); FTP is the \
               only tolerated exception",
        )
        .both(test!(payload::what_names_an_inside_endpoint_passes_unchanged)),
    row("U20", Should, "RFC 4787 REQ-10a")
        .says("Each ALG separately switchable")
        .none("there is no ALG to switch: see U19"),
    row("U21", Must, "RFC 4787 REQ-11")
        .says("Behaviour is deterministic: mapping/filtering type never changes with time or load")
        .both(test!(ports::behaviour_does_not_change_under_load)),
    row("U22", Must, "RFC 4787 REQ-12; RFC 5382 REQ-10")
        .says("No ICMP message removes a mapping or connection")
        .both(test!(errors::no_error_ends_a_flow)),
    row("U23", Should, "RFC 4787 REQ-12a")
        .says("ICMP errors are not filtered by outer source address")
        .both(test!(errors::a_router_on_the_way_is_heard)),
    row("U24", Should, "RFC 4787 REQ-12b; RFC 5382 REQ-9")
        .says("Destination Unreachable is translated and delivered")
        .both(test!(errors::a_closed_port_is_reported)),
    row("U25", Must, "RFC 4787 REQ-13; RFC 5508 s7.1.1; RFC 1191")
        .says("Oversize packet with DF=1: drop + ICMP 3/4 to sender with next-hop MTU in low 16 bits")
        .both(test!(size::the_sender_hears_how_large_it_may_be)),
    row("U26", Must, "RFC 4787 REQ-13a")
        .says("Oversize packet with DF=0 is fragmented, fragments in order, each with the ext source")
        .remark("MUST / SHOULD order")
        .both(test!(size::without_df_it_leaves_in_fragments)),
    row("U27", Must, "RFC 4787 REQ-14")
        .says("Inbound fragments are translated whether in order or out of order")
        .both(test!(fragments::in_any_order_they_arrive)),
    row("U28", Must, "RFC 4787 REQ-14a")
        .says("Fragment floods do not affect unfragmented traffic")
        .both(test!(fragments::a_flood_harms_nobody_else)),
    row("U29", Must, "RFC 3022 4.1; RFC 768")
        .says("UDP checksum 0 stays 0; a computed 0 is sent as 0xFFFF")
        .both(test!(checksum::none_stays_none_and_zero_is_all_ones)),
    row("U30", Must, "RFC 4787 4.2.1")
        .says("Port exhaustion: packet dropped, no wrong delivery, no overload; existing flows unaffected")
        .both(test!(ports::without_a_port_left_nothing_is_harmed)),
];
