//! What users of iptables MASQUERADE rely on.

mod address;
mod changes;
mod host;
mod import;
mod life;
mod outside;
mod ports;
mod rules;
mod second_uplink;
mod settle;
mod stack;

use crate::conformance::row::Level::{Compat, Must, Sec};
use crate::conformance::row::{Row, row};
use crate::test;

pub const ROWS: &[Row] = &[
    row("M01", Compat, "iptables MASQUERADE")
        .says("`-o IF -s NET -j MASQUERADE`: only packets leaving IF with original src in NET")
        .both(test!(rules::only_what_leaves_by_the_device_from_the_network))
        .note("tagged packets of a VLAN subinterface leave by the device below, too: name the subinterface"),
    row("M02", Compat, "iptables")
        .says("Negation: `! -d NET`, `! -s`, `! -o IF`, interface wildcard `eth+`")
        .both(test!(import::negation_and_wildcards_mean_the_same)),
    row("M03", Compat, "iptables")
        .says("First matching rule wins; RETURN/ACCEPT before MASQUERADE exempts; user chains")
        .both(test!(import::the_first_match_wins_in_chains_too))
        .note("natbpf by way of `natbpf import`"),
    row("M04", Compat, "nf_nat_masquerade.c")
        .says(
            "Address chosen = first PRIMARY address (flags without secondary) of oif with scope global; \
               if one primary's subnet contains the NEXT HOP it is preferred",
        )
        .both(test!(address::the_subnet_of_the_next_hop_is_preferred)),
    row("M05", Compat, "nf_nat_masquerade.c")
        .says("Route preferred source (`ip route ... src X`) is NOT used by MASQUERADE")
        .both(test!(address::the_preferred_source_of_a_route_is_not_used)),
    row("M06", Compat, "devinet.c")
        .says(
            "Address scope link/host skipped; secondary skipped; no address on oif: another interface's \
               address is used; none at all: packet dropped and logged \"ate my IP address\"",
        )
        .remark("COMPAT/MUST not leak")
        .both(test!(address::scopes_other_devices_and_no_address_at_all)),
    row("M07", Compat, "nf_nat_masquerade.c")
        .says("Link DOWN of the oif removes all its masqueraded entries")
        .both(test!(changes::link_down_ends_the_flows)),
    row("M08", Compat, "nf_nat_masquerade.c")
        .says("Deleting one address removes only entries using it; adding/changing keeps others")
        .both(test!(changes::only_the_flows_of_a_removed_address_end)),
    row("M09", Compat, "operator")
        .says("New WAN address (DHCP renew) is picked up for new flows within 1 s, no restart")
        .both(test!(changes::a_new_address_is_used_at_once)),
    row("M10", Compat, "nf_nat.h nf_nat_oif_changed")
        .says(
            "Original-direction packet of a masqueraded flow that now routes via another oif: entry \
               killed, packet dropped, next packet re-NATed",
        )
        .both(test!(changes::a_flow_moves_to_another_uplink))
        .note("natbpf translates the first packet already, netfilter drops that one"),
    row("M11", Compat, "nf_nat_core.c")
        .says(
            "nat rules are consulted for the first packet only; rule add/delete does not change live \
               flows",
        )
        .both(test!(changes::rules_count_for_the_first_packet))
        .decided(
            "natbpf keeps nothing of flows that no rule takes; and what a rule names does not leave with its inside \
             source",
        ),
    row("M12", Compat, "nf_nat_core.c")
        .says("Packets of a flow started from outside (replies from inside) are not masqueraded")
        .both(test!(outside::answers_to_the_outside_keep_their_source)),
    row("M13", Sec, "nf_conntrack INVALID")
        .says(
            "INVALID packets bypass NAT in netfilter and leave with private source; natbpf must drop \
               them instead (deliberate difference)",
        )
        .both(test!(outside::what_is_invalid_does_not_leave)),
    row("M14", Compat, "nf_nat")
        .says(
            "Locally generated packets traverse POSTROUTING: `-o WAN -j MASQUERADE` without -s also \
               rewrites a local socket bound to a secondary address to the primary",
        )
        .both(test!(address::the_hosts_other_addresses_are_masqueraded)),
    row("M15", Compat, "nf_nat").says("src 0.0.0.0 (DHCP) is never masqueraded").both(test!(address::the_unspecified_source_is_left_alone)),
    row("M16", Must, "nf_nat null binding")
        .says(
            "Host's own flows and NATed flows never collide: the second one gets another port \
               (even the host)",
        )
        .both(test!(host::host_and_instances_do_not_collide)),
    row("M17", Must, "einat/cilium practice")
        .says(
            "If NAT owns a port range exclusively: local listeners inside it are detected and excluded, \
               range written to ip_local_reserved_ports, host ephemeral sockets avoid it",
        )
        .remark("MUST in EIM mode")
        .both(test!(host::a_listener_in_the_range_keeps_its_port))
        .note("natbpf owns no range of ports, so it reserves none: it asks for the host's sockets"),
    row("M18", Compat, "iptables --to-ports")
        .says(
            "`--to-ports A-B` only for tcp,udp,dccp,sctp; port outside is moved in, port inside kept; \
               reversed range swapped",
        )
        .both(test!(ports::to_ports_bring_ports_in))
        .decided("a checksum of SCTP is over the whole packet, so its ports stay, and clashes are refused"),
    row("M19", Compat, "iptables --random/--random-fully")
        .says("per-flow random port; since kernel 5.0 both identical")
        .both(test!(ports::random_ports_for_every_flow))
        .note("with `profile = \"netfilter\"`; otherwise a random port for every endpoint"),
    row("M20", Compat, "iptables SNAT --to-source a-b --persistent")
        .says("range hash; --persistent pins per client")
        .both(test!(ports::a_client_has_one_address_of_the_pool))
        .note("natbpf's pools are always persistent"),
    row("M21", Compat, "RELATED ICMP")
        .says("RELATED errors follow the parent's NAT in both directions, no rule needed")
        .both(test!(outside::errors_are_translated_with_their_flow)),
    row("M22", Compat, "sysctl ip_forward")
        .says(
            "natbpf refuses/warns when ip_forward=0 and datapath depends on the stack; never silently \
               sets it; note toggling resets per-if sysctls",
        )
        .natbpf(test!(stack::forwarding_is_asked_for_and_left_alone)),
    row("M23", Compat, "rp_filter")
        .says("effective value = max(all, if); 1 drops asymmetric, 2 loose; NAT return traffic unaffected")
        .both(test!(stack::the_reverse_path_filter_decides_about_detours)),
    row("M24", Compat, "accept_local")
        .says("packets with a local source from the wire are martians unless accept_local=1")
        .remark("COMPAT/SEC")
        .both(test!(stack::the_gateways_address_from_the_wire_is_a_martian)),
    row("M25", Must, "ordering")
        .says("natbpf and iptables nat on the same path: double NAT impossible or detected")
        .natbpf(test!(life::beside_iptables_there_is_one_translation)),
    row("M26", Compat, "restart")
        .says("Reload/upgrade keeps established flows (pinned maps, link replace)")
        .both(test!(life::reload_and_restart_keep_flows)),
    row("M27", Compat, "stop")
        .says("On stop/uninstall host returns to prior state (filters, qdisc, maps, sysctls)")
        .natbpf(test!(life::the_end_leaves_nothing_behind)),
    row("M28", Must, "filter table")
        .says(
            "FORWARD policy of iptables/nft still applies when natbpf runs in TC; if XDP bypasses it, \
               this is explicit",
        )
        .remark("MUST document")
        .both(test!(stack::the_policy_of_forward_holds)),
    row("M29", Compat, "conntrack helpers -m conntrack / -m state")
        .says(
            "Rules using ctstate on NATed traffic still see coherent tuples or are documented as \
               unsupported",
        )
        .both(test!(stack::states_of_conntrack_can_be_matched))
        .note("with natbpf, conntrack sees inside addresses in both directions"),
    row("M30", Compat, "DNAT import")
        .says(
            "`-j DNAT --to-destination`, REDIRECT, NETMAP lines are imported or listed as skipped with \
               line number",
        )
        .natbpf(test!(import::a_file_is_imported_or_reported_line_by_line)),
];
