//! Floating addresses as OpenStack Neutron's router has them. The rows from N06 on are about security groups,
//! DHCP and anti-spoofing of ports, which are not in scope.

mod floating;

use crate::conformance::row::Level::Compat;
use crate::conformance::row::{Row, row};
use crate::test;

pub const ROWS: &[Row] = &[
    row("N01", Compat, "Neutron router_info.py")
        .says("Floating IP 1:1: DNAT in PREROUTING and OUTPUT, SNAT in float-snat before default snat")
        .both(test!(floating::all_of_an_instance_has_its_address))
        .decided("the gateway itself has a route to the instance's own address, and needs no other"),
    row("N02", Compat, "Neutron")
        .says("Port is never changed by 1:1 NAT unless clash; any protocol passes")
        .both(test!(floating::ports_stay_and_every_protocol_passes)),
    row("N03", Compat, "Neutron")
        .says(
            "Inside host to another inside host's floating IP works (SNAT to gw when ctstate DNAT and \
               not from gateway port)",
        )
        .both(test!(floating::instances_reach_each_other_by_it)),
    row("N04", Compat, "Neutron")
        .says("Traffic not leaving qg- and not DNATed is not SNATed")
        .both(test!(floating::what_stays_inside_keeps_its_source)),
    row("N05", Compat, "Neutron")
        .says("Removing a FIP kills its live flows and its address")
        .both(test!(floating::taken_away_it_is_gone_with_its_flows))
        .note("Neutron's agent ends the flows by `conntrack -D`, which the test leaves out"),
];
