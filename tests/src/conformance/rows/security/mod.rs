//! Security: attacks, malformed packets, leaks.

mod exhaustion;
mod fragments;
mod fuzz;
mod gateway;
mod icmp;
mod leak;
mod malformed;
mod neighbours;
mod operator;
mod payloads;
mod resets;

use crate::conformance::row::Level::{May, Sec, Should};
use crate::conformance::row::{Row, row};
use crate::test;

pub const ROWS: &[Row] = &[
    row("S01", Sec, "RFC 3022; leak")
        .says("No packet leaves WAN with a source inside the NATed subnets, whatever its state")
        .both(test!(leak::no_odd_packet_leaves_with_an_inside_source)),
    row("S02", Sec, "exhaustion")
        .says(
            "One inside host cannot exhaust ports/entries: per-source quota default on (e.g. max 25 % \
               of table) and rate limit",
        )
        .both(test!(exhaustion::one_host_leaves_ports_and_room_to_others)),
    row("S03", Sec, "SYN flood inside")
        .says("Half-open entries have a separate cap; established unaffected")
        .both(test!(exhaustion::half_open_connections_are_bounded)).note("natbpf's bound is that for all flows of a source, a quarter of the table."),
    row("S04", Sec, "RFC 5961; ReDAN NDSS'25")
        .says("Off-path RST to ext port: out-of-window seq neither deletes nor shortens the mapping")
        .both(test!(resets::a_reset_out_of_window_changes_nothing)),
    row("S05", Sec, "ReDAN")
        .says(
            "In-window but inexact RST: mapping survives (challenge-ACK case), timer not cut to <240 s \
               while data flows",
        )
        .both(test!(resets::an_inexact_reset_in_the_window_does_not_shorten)),
    row("S06", Sec, "ReDAN step 2")
        .says("RST from the peer side provoked by forged data cannot remove another host's mapping")
        .both(test!(resets::provoked_resets_leave_the_port_with_its_owner)),
    row("S07", Sec, "ReDAN step 1")
        .says(
            "Gateway does not reveal NAT by PMTUD desync: inbound 3/4 about inside flow does not change \
               gateway's own PMTU cache",
        )
        .both(test!(gateway::a_forged_path_mtu_of_a_flow_is_not_the_gateways)),
    row("S08", Sec, "NDSS'24 TCP hijack in NAT Wi-Fi")
        .says(
            "Inside attacker cannot take over another inside host's ext port by evicting it with \
               spoofed RST/FIN and re-creating it",
        )
        .both(test!(neighbours::a_forged_reset_from_inside_takes_nothing_over)),
    row("S09", Sec, "NDSS'24")
        .says("Reverse path: packets claiming an outside source arriving on LAN never match a reply tuple")
        .both(test!(neighbours::what_claims_to_come_from_outside_is_no_reply)),
    row("S10", Sec, "port shadow, CVE-2021-3773, PETS'24")
        .says(
            "Inside client cannot shadow a service of the gateway: IN1 sport=1194 -> OUT1:41404 must \
               not steal OUT1:41404 -> gw:1194",
        )
        .both(test!(gateway::a_service_of_the_gateway_is_not_shadowed)),
    row("S11", Sec, "port shadow inside")
        .says("Two inside clients cannot intercept each other's replies by choosing same sport/dst")
        .both(test!(neighbours::two_hosts_with_one_tuple_get_their_own_answers)),
    row("S12", Sec, "spoofed replies")
        .says("Inbound UDP to ext port from non-contacted address is dropped in ADF/APDF")
        .both(test!(neighbours::strangers_answers_are_dropped)),
    row("S13", Sec, "ICMP spoof")
        .says(
            "ICMP error accepted only if embedded tuple matches a live mapping AND outer dst equals \
               mapping ext IP",
        )
        .both(test!(icmp::an_error_needs_a_flow_and_its_external_address)),
    row("S14", May, "ICMP spoof TCP")
        .says("Optionally embedded TCP seq must be in window (RFC5927)")
        .both(test!(icmp::an_error_with_a_quoted_number_out_of_window)).decided("the gateway keeps no window; the instance's own stack looks at the number (RFC 5927, section 4.1)"),
    row("S15", Sec, "ICMP redirect")
        .says("Redirects about NATed flows are dropped")
        .both(test!(icmp::redirects_about_flows_are_dropped)),
    row("S16", Sec, "slipstream v1/v2")
        .says("No payload-driven pinholes")
        .both(test!(payloads::no_payload_opens_a_port)),
    row("S17", Sec, "land")
        .says("src==dst (IP and port) dropped")
        .both(test!(gateway::a_packet_from_the_gateway_to_itself_is_dropped)),
    row("S18", Sec, "hairpin loop")
        .says("Packet from gw ext IP to itself cannot loop through hairpin")
        .both(test!(gateway::a_packet_from_the_gateway_to_itself_does_not_loop)),
    row("S19", Sec, "amplification")
        .says("No more than 1 packet out per packet in; ICMP rate-limited")
        .both(test!(payloads::one_packet_makes_one_at_most)),
    row("S20", Sec, "hash flooding")
        .says("Chosen 5-tuples do not degrade map (bounded buckets)")
        .both(test!(exhaustion::chosen_tuples_do_not_slow_the_table_down)),
    row("S21", Sec, "DoS timers")
        .says("SYN retransmit does not renew half-open timer")
        .both(test!(exhaustion::a_repeated_syn_does_not_renew)),
    row("S22", Sec, "fragment")
        .says("tiny first fragment (<8 B L4) dropped")
        .both(test!(fragments::tiny_first_fragments_are_dropped)),
    row("S23", Sec, "fragment")
        .says("overlapping fragments: whole datagram dropped")
        .both(test!(fragments::overlapping_fragments_do_not_leave)),
    row("S24", Sec, "fragment")
        .says("ping of death: offset+len>65535 dropped")
        .both(test!(fragments::a_datagram_beyond_65535_bytes_is_dropped)),
    row("S25", Sec, "fragment")
        .says("non-first fragment without state never forwarded untranslated")
        .both(test!(fragments::orphans_do_not_leave_untranslated)),
    row("S26", Sec, "fragment")
        .says("fragments with DF+MF contradictory, offset with DF: handled")
        .both(test!(fragments::contradictory_flags_are_handled)),
    row("S30", Sec, "malformed")
        .says("version!=4, IHL<5")
        .both(test!(malformed::ip_version_and_header_length)).note("The kernel drops these before either translator sees them; what natbpf itself makes of them is shown by the tests of the loaded object."),
    row("S31", Sec, "malformed")
        .says("total_len < IHL*4; total_len > frame; frame < 20")
        .both(test!(malformed::ip_total_length)).note("The kernel drops these before either translator sees them; what natbpf itself makes of them is shown by the tests of the loaded object."),
    row("S32", Sec, "malformed")
        .says("options run past header; option len 0/1")
        .both(test!(malformed::ip_options)).note("The kernel drops these before either translator sees them; what natbpf itself makes of them is shown by the tests of the loaded object."),
    row("S33", Sec, "malformed")
        .says("TCP doff<5 or doff*4>segment; flags 0, SYN+FIN, SYN+RST, all (Xmas)")
        .both(test!(malformed::tcp_headers_and_flags)),
    row("S34", Sec, "malformed").says("UDP len<8 or > IP payload").both(test!(malformed::udp_length)),
    row("S35", Sec, "malformed")
        .says("truncated L4 (<4 B ports, <8 B)")
        .both(test!(malformed::truncated_transport_headers)),
    row("S36", Sec, "malformed").says("TCP/UDP port 0").both(test!(malformed::port_zero)),
    row("S37", Sec, "malformed")
        .says("ICMP type>18 or bad code; ICMP <8 B")
        .both(test!(malformed::icmp_types_and_codes)),
    row("S38", Should, "malformed")
        .says("bad L4 checksum does not create a mapping when verification is on (offload aware)")
        .both(test!(malformed::wrong_transport_checksums)).decided("a wrong checksum leaves as wrong as it came and ends at the receiver; to find it every byte would have to be read"),
    row("S39", Sec, "fuzz")
        .says("scapy fuzz() 100k frames each hook: no verifier/driver crash, no leak, O10 conservation")
        .both(test!(fuzz::random_packets_neither_leak_nor_get_lost_uncounted)),
    row("S40", Sec, "privilege")
        .says("only root/CAP_BPF+NET_ADMIN can alter; pinned maps 0700; control socket peer-cred checked")
        .natbpf(test!(operator::only_root_can_alter)),
    row("S41", Sec, "fail mode")
        .says("daemon crash: datapath keeps translating; map loss: fail closed (no untranslated leak)")
        .natbpf(test!(operator::a_crash_neither_stops_nor_leaks)).decided("the pins of TCX links are what holds the programs, and only root can take them away; `--attach clsact` keeps them without"),
];
