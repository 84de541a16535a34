//! Bridging. The bridge is the kernel's, alone and with `natbpf accelerate`, which has to repeat what it does and
//! nothing else. What is looked at is repeated before: see [`Bridge::repeat`](crate::conformance::Bridge::repeat).

/// Ends a test unless those hear the next packets of a flow who should, within a second.
macro_rules! heard {
    ($bridge:ident, $flow:expr, $wanted:expr, $($what:tt)+) => {
        let heard = $bridge.soon($flow, $wanted)?;
        $crate::expect!(heard == $wanted, "{} is heard at {heard}", format_args!($($what)+));
    };
}

mod addresses;
mod ageing;
mod filtering;
mod flooding;
mod frames;
mod gateway;
mod learning;
mod many;
mod ports;
mod shown;
mod spanning;
mod tags;
mod vlans;

use crate::conformance::row::Level::{Compat, May, Must, MustNot, Sec, Should};
use crate::conformance::row::{Row, row};
use crate::test;

pub const ABOUT: &str = "\
A Linux bridge with three stations: alone, and with `natbpf accelerate` on its ports. What is looked at are packets of
flows that natbpf repeats by then; after a change it has a second to follow. The command fails where the bridge alone does
better, whatever the level. `net.bridge.bridge-nf-call-iptables` is 0: with it netfilter does to frames what no bridge does.
A kernel without VLAN filtering cannot have all rows; `cargo xtask vm --kernel 6.1 -- conformance --section B` runs them on
one of Debian's.

";

pub const ROWS: &[Row] = &[
    row("B01", Must, "802.1D 7.8")
        .says("Source MAC learned on receiving port (and VLAN); unicast then goes only there")
        .bridge(test!(learning::a_learned_station_alone_hears_what_is_for_it)),
    row("B02", Must, "802.1D 7.9.2")
        .says(
            "Ageing default 300 s; configurable 10-1000000; idle entry removed, active refreshed",
        )
        .bridge(test!(ageing::who_is_silent_is_forgotten_and_who_speaks_is_not)),
    row("B03", Must, "802.1D 7.7")
        .says(
            "Unknown unicast, broadcast, unregistered multicast flooded to all other forwarding ports of the VLAN",
        )
        .bridge(test!(flooding::what_has_no_port_goes_to_all_others_that_forward)),
    row("B04", MustNot, "802.1D 7.7.1")
        .says("Never forwarded back to ingress port (unless hairpin)")
        .bridge(test!(flooding::nothing_goes_back_unless_the_port_is_a_hairpin)),
    row("B05", MustNot, "802.1D Table 7-10")
        .says("01-80-C2-00-00-00..0F never forwarded (802.1Q refines for TPMR/S-VLAN)")
        .bridge(test!(addresses::reserved_groups_stay_on_their_link))
        .note("with STP on, B21, none of them is forwarded"),
    row("B06", Must, "802.1D 7.8")
        .says("Multicast/broadcast/zero source address never learned; frame with group source dropped")
        .bridge(test!(addresses::a_group_is_no_source)),
    row("B07", Must, "802.1D")
        .says("MAC move: entry follows latest port at once; event emitted")
        .bridge(test!(learning::a_station_that_moves_is_followed)),
    row("B08", Must, "802.1D")
        .says("Static/permanent entries not overwritten by learning or aged")
        .bridge(test!(learning::a_static_entry_stays)),
    row("B09", Must, "802.1D")
        .says("Destination equals a port's or bridge's own MAC: local delivery only")
        .bridge(test!(addresses::what_is_for_the_bridge_goes_nowhere_else)),
    row("B10", Should, "802.1D")
        .says("Frame received from own MAC: warn, do not relearn local entry")
        .bridge(test!(addresses::nobody_takes_the_bridges_own_address)),
    row("B11", Must, "802.1D 6.3")
        .says("Frame not modified: FCS-neutral, order preserved per priority, no duplicates")
        .bridge(test!(frames::ten_thousand_arrive_as_they_were_sent)),
    row("B12", Must, "802.1D 6.5")
        .says("No forwarding of frames longer than egress MTU; no fragmentation at L2; drop + counter")
        .bridge(test!(frames::what_is_too_long_is_dropped)),
    row("B13", Sec, "802.1D")
        .says("FDB size limit: when full, flood; existing entries survive; per-port limit option")
        .bridge(test!(many::ten_thousand_stations_drive_nobody_out)),
    row("B14", Must, "802.1Q 8.6")
        .says("Ingress: untagged and VID-0 frames take PVID; no PVID: drop")
        .bridge(test!(filtering::untagged_frames_take_the_pvid)),
    row("B15", Must, "802.1Q 8.6.2")
        .says("Ingress filtering: tag not in port's VLAN set is dropped")
        .bridge(test!(filtering::a_tag_that_the_port_does_not_have_is_dropped)),
    row("B16", Must, "802.1Q 8.8")
        .says("Egress: only member ports; untagged set strips tag, others keep it")
        .bridge(test!(filtering::members_alone_hear_it_and_with_their_tag)),
    row("B17", Must, "802.1Q")
        .says("Default PVID 1 untagged on all ports; VID 4095 reserved, 0 not a VLAN")
        .bridge(test!(vlans::one_vlan_by_default)),
    row("B18", Must, "802.1Q IVL")
        .says("Learning is per VLAN (same MAC in two VLANs on two ports)")
        .bridge(test!(vlans::one_address_in_two_vlans)),
    row("B19", Compat, "OVS access port")
        .remark("COMPAT OVS")
        .says("Nonzero-VID tagged frame on an access port is dropped even if VID equals tag")
        .bridge(test!(tags::a_tag_at_an_access_port))
        .note("a Linux bridge takes it, as 802.1Q has it"),
    row("B20", Should, "802.1ad")
        .says("QinQ: outer 0x88a8/0x8100 not confused; inner tag preserved")
        .bridge(test!(tags::a_tag_within_a_tag_stays)),
    row("B21", Compat, "802.1D STP")
        .says("STP off by default; BPDUs: policy explicit (forward/drop/punt)")
        .bridge(test!(spanning::a_loop_is_cut_and_the_other_way_taken)),
    row("B22", Compat, "iproute2")
        .says(
            "`bridge fdb show` compatible: MAC dev P [vlan N] [self] master BR [permanent or static] \
               [extern_learn] [sticky] [offload]",
        )
        .bridge(test!(shown::the_table_as_bridge_fdb_shows_it)),
    row("B23", Compat, "iproute2")
        .says("`bridge vlan show` columns port, vlan-id with PVID and Egress Untagged")
        .bridge(test!(shown::the_vlans_as_bridge_vlan_shows_them)),
    row("B24", Compat, "OVS CLI")
        .says(
            "accept `set port P tag=N`, `trunks=A,B`, `vlan_mode=access,trunk,native-tagged,native-untagged`",
        )
        .bridge(test!(tags::the_modes_of_a_port)),
    row("B25", Must, "bridge+NAT")
        .says(
            "Frames addressed to gateway MAC go to NAT path, others bridged; same-subnet traffic is never NATed",
        )
        .bridge(test!(gateway::neighbours_are_bridged_and_the_rest_translated)),
    row("B26", May, "isolation")
        .says("isolated ports reach only non-isolated")
        .bridge(test!(ports::isolated_ports_do_not_reach_each_other)),
    row("B27", Must, "link events")
        .says("Port down flushes its dynamic entries")
        .bridge(test!(ports::a_port_that_goes_down_is_forgotten)),
];
