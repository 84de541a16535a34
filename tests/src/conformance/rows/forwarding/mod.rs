//! Forwarding: RFC 1812 and its kin.

mod addresses;
mod checksums;
mod gateway;
mod header;
mod mtu;
mod protocols;
mod routes;
mod vlan;

use crate::conformance::row::Level::{Compat, May, Must, MustNot, Should, ShouldNot};
use crate::conformance::row::{Row, row};
use crate::test;

pub const ROWS: &[Row] = &[
    row("F01", Must, "RFC 1812 5.3.1")
        .says("TTL decremented by exactly 1 per natbpf hop, IP checksum updated incrementally")
        .both(test!(header::one_hop_less)),
    row("F02", Must, "RFC 1812 5.3.1")
        .says("TTL 1 (or 0) is not forwarded; Time Exceeded to sender; no mapping left behind")
        .both(test!(header::the_last_hop_leaves_no_flow)),
    row("F03", Must, "RFC 1812 5.3.1")
        .says("TTL=0 arriving never forwarded, never wraps to 255")
        .both(test!(header::no_hop_is_no_packet)),
    row("F04", Must, "RFC 1812 5.2.2")
        .says(
            "IP header checks before use: length>=20, version 4, IHL>=5, IHL*4<=total_len<=frame, \
               checksum ok",
        )
        .both(test!(header::what_is_no_header_goes_nowhere)),
    row("F05", Must, "RFC 1812 4.2.2.5")
        .says("Bad IP header checksum silently dropped (not repaired by recalculation)")
        .both(test!(checksums::a_wrong_header_checksum_is_not_repaired)),
    row("F06", Must, "RFC 3022 4.1-4.2; RFC 1624")
        .says("L4 checksum adjusted incrementally so an incoming bad L4 checksum stays bad")
        .both(test!(checksums::a_wrong_transport_checksum_stays_wrong)),
    row("F07", MustNot, "RFC 1812 5.3.4")
        .says("Frame received as link-layer bcast/mcast with unicast IP dst is not forwarded")
        .both(test!(addresses::frames_for_others)),
    row("F08", MustNot, "RFC 1812 5.3.5; RFC 2644")
        .says("Directed broadcast not forwarded by default; 255.255.255.255 never")
        .both(test!(addresses::broadcasts_of_networks)),
    row("F09", ShouldNot, "RFC 1812 5.3.7")
        .says("Martian sources (0/8,127/8,bcast,224/4,240/4) not forwarded")
        .both(test!(addresses::sources_that_no_host_has))
        .decided(
            "to Linux, which forwards, 240.0.0.0/4 and all of 0.0.0.0/8 but 0.0.0.0 are ordinary addresses",
        ),
    row("F10", Should, "RFC 3704; rp_filter")
        .says(
            "Inside packet with src outside -s subnet is not translated; strict rpf drops it when \
               enabled",
        )
        .both(test!(addresses::a_source_of_another_network)),
    row("F11", Compat, "RFC 1812 5.2.4.3")
        .says("Longest prefix and policy rules of the kernel FIB respected (ip rule, metrics, VRF)")
        .both(test!(routes::the_kernel_chooses_the_way)),
    row("F12", Must, "RFC 826; operator")
        .says("Unresolved next hop: first packets are not lost for ever (punt to stack for ARP)")
        .both(test!(routes::an_unknown_neighbour_is_asked_for)),
    row("F13", Must, "RFC 1191")
        .says("Forwarded inbound 3/4 (frag needed) reaches the inside host, PMTU updates")
        .both(test!(mtu::inside_hosts_learn_it)),
    row("F14", Should, "RFC 1191")
        .says("DF=1, mtu field <68 or larger than packet: passed unmodified, not trusted by gateway")
        .both(test!(mtu::the_gateway_does_not_believe_it)),
    row("F15", May, "RFC 4459/879")
        .says("Optional MSS clamp on SYN to path MTU-40")
        .both(test!(mtu::segments_are_clamped_by_a_rule))
        .note("by a TCPMSS rule of the gateway's mangle table, with either translator"),
    row("F16", Must, "RFC 3168/2474")
        .says("DSCP/ECN bits untouched")
        .both(test!(header::class_and_congestion_stay)),
    row("F17", Should, "RFC 3022 4.6; RFC 7126")
        .says("IP options: IHL>5 handled; LSRR/SSRR dropped by default; RR/TS either ignored or dropped")
        .both(test!(header::options_pass_and_source_routes_do_not)),
    row("F18", May, "RFC 6864")
        .says("Atomic packets: ID ignored; no rewriting needed")
        .both(test!(header::atomic_packets_pass_as_they_are)),
    row("F19", Must, "RFC 1812 5.2.3")
        .says(
            "Packets to the gateway itself (SSH, DNS, DHCP, ICMP echo, host's own outgoing flows) work \
               with natbpf loaded",
        )
        .both(test!(gateway::the_gateways_own_traffic_works)),
    row("F20", Must, "IEEE802.3")
        .says("Ethernet padding (<60 B frames) not counted as payload; csum unaffected")
        .both(test!(header::padding_is_no_payload)),
    row("F21", Must, "RFC 3022 6.3")
        .says("Outbound fragments (inside->outside) are translated consistently (only first has ports)")
        .both(test!(protocols::fragments_leave_with_the_external_source)),
    row("F22", Should, "GRE/ESP/SCTP/other")
        .says(
            "Protocols without ports: 1:1 per remote address or dropped, never leaked with private \
               source",
        )
        .both(test!(protocols::protocols_without_ports_do_not_leak)),
    row("F23", Must, "VLAN")
        .says("Tagged traffic: NAT on VLAN sub-interface works both with HW-offloaded and in-frame tags")
        .both(test!(vlan::tags_in_the_buffer_and_in_the_frame)),
];
