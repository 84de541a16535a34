//! Addresses that come and go, and flows that change their uplink.

use std::net::Ipv4Addr;

use lab::object::{Context, LO, NEW, NEW_PORT, Object, PLAIN, Packet, RECEIVER, ip, uplink};
use lab::{GATEWAY, INSIDE, SERVER, VM1};
use natbpf::datapath::Hook;
use natbpf_common::IfIndex;
use natbpf_common::contract::counter::Counter::{FlowsRemapped, NoAddress, NotConfigured, PortsChanged};
use natbpf_common::wire::segment::{ACK, FIN, RST, SYN};

use super::{A, B, S, one_of_each};

const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const SECOND: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// A second uplink with this address; returns its index.
fn second_uplink(object: &mut Object, address: &str) -> u32 {
    const VETH: u32 = 77;
    ip(&format!("link add name one index 77 address {RECEIVER} type veth peer name two"));
    object.set_uplinks(&[uplink(LO, &["203.0.113.1/24"]), uplink(VETH, &[address])]);
    object.set_rules(&[(LO, INSIDE, PLAIN), (VETH, INSIDE, PLAIN)], &[]);
    VETH
}

#[test]
fn without_an_address_nothing_leaves() {
    let mut object = Object::default();
    object.set_uplinks(&[uplink(LO, &[])]);
    for packet in one_of_each(A) {
        object.egress(&packet).dropped(NoAddress);
    }
    object.egress(&Packet::other(47, VM1, SERVER)).dropped(NoAddress);
    // What is not masqueraded needs none.
    object.egress(&Packet::udp((Ipv4Addr::new(192, 168, 0, 1), 1), S)).untouched(&[]);
    assert_eq!(object.entries().len(), 0);
}

#[test]
fn an_uplink_in_the_making_lets_nothing_out() {
    let mut object = Object::default();
    object.set_uplinks(&[]);
    object.egress(&Packet::udp(A, S)).dropped(NotConfigured);
    object.ingress(&Packet::udp(S, (GATEWAY, 5000))).untouched(&[]);
}

#[test]
fn a_flow_whose_address_is_gone_gets_the_new_one() {
    let mut object = Object::default();
    let [_, udp, echo] = one_of_each(A);
    for packet in [&udp, &echo] {
        object.out(packet, NEW);
    }
    object.set_uplinks(&[uplink(LO, &["203.0.113.2/24"])]);
    for packet in [udp, echo] {
        let external = object.out_by(LO, OTHER, &packet, &[FlowsRemapped]);
        assert_eq!(external.1, 5000);
        object.back(&packet.answer(external), packet.source());
        object.ingress(&packet.answer((GATEWAY, 5000))).untouched(&[]);
        object.out_by(LO, OTHER, &packet, &[]);
    }
    assert_eq!(object.census().flows, 2);
    object.expect_all_to_go();
}

/// The other end does not know the new address; its reset tells the instance.
#[test]
fn a_connection_whose_address_is_gone_goes_on_from_the_new_one() {
    let mut object = Object::default();
    object.out(&Packet::tcp(A, S, SYN), NEW);
    object.back(&Packet::tcp(S, (GATEWAY, 5000), SYN | ACK), A);
    object.out(&Packet::tcp(A, S, ACK), &[]);
    object.set_uplinks(&[uplink(LO, &["203.0.113.2/24"])]);
    let external = object.out_by(LO, OTHER, &Packet::tcp(A, S, ACK), &[FlowsRemapped]);
    object.back(&Packet::tcp(S, external, RST), A);
}

#[test]
fn the_end_of_a_connection_whose_address_is_gone_begins_none() {
    let mut object = Object::default();
    object.out(&Packet::tcp(A, S, SYN), NEW);
    object.set_uplinks(&[uplink(LO, &["203.0.113.2/24"])]);
    let reason = natbpf_common::contract::counter::Counter::TcpNoFlow;
    object.egress(&Packet::tcp(A, S, FIN | ACK)).dropped(reason);
    object.egress(&Packet::tcp(A, S, RST)).dropped(reason);
    object.out_by(LO, OTHER, &Packet::tcp(A, S, SYN), &[FlowsRemapped]);
}

#[test]
fn an_address_that_comes_back_has_the_flow_again() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    object.set_uplinks(&[uplink(LO, &[])]);
    object.egress(&packet).dropped(NoAddress);
    object.egress(&packet).dropped(NoAddress);
    object.set_uplinks(&[uplink(LO, &["203.0.113.1/24"])]);
    assert_eq!(object.out(&packet, &[FlowsRemapped]), external);
    object.back(&packet.answer(external), A);
    assert_eq!(object.census().flows, 1);
    object.expect_all_to_go();
}

#[test]
fn flows_of_an_address_that_stays_are_not_touched() {
    let mut object = Object::default();
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    object.set_uplinks(&[uplink(LO, &["203.0.113.2/24", "203.0.113.1/24", "198.18.0.1/24"])]);
    assert_eq!(object.out(&packet, &[]), external);
    object.back(&packet.answer(external), A);
    // New ones take the first.
    object.out_by(LO, OTHER, &Packet::udp((VM1, 5001), S), NEW);
}

/// As `inet_select_addr` chooses for `MASQUERADE`.
#[test]
fn the_address_in_the_subnet_of_the_next_hop_is_taken() {
    let mut object = Object::default();
    let addresses = ["198.18.0.1/24", "203.0.113.1/24", "203.0.113.2/32"];
    object.set_uplinks(&[uplink(LO, &addresses)]);
    object.out_by(LO, GATEWAY, &Packet::udp(A, S), NEW);
    object.out_by(LO, SECOND, &Packet::udp(A, (Ipv4Addr::new(198, 18, 0, 99), 1)), NEW);
    object.out_by(LO, SECOND, &Packet::udp(A, (Ipv4Addr::new(192, 0, 2, 1), 1)), NEW);
    assert_eq!(object.census().mappings, 2, "an endpoint has one mapping an address");
}

#[test]
fn all_eight_addresses_are_the_uplinks_own() {
    let mut object = Object::default();
    let addresses: Vec<String> = (1..=8).map(|number| format!("203.0.113.{number}/32")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    object.set_uplinks(&[uplink(LO, &addresses)]);
    object.set_rules(&[(LO, "0.0.0.0/0", PLAIN)], &[]);
    for number in 1..=8 {
        object.egress(&Packet::udp((Ipv4Addr::new(203, 0, 113, number), 5000), S)).untouched(&[]);
    }
    object.out(&Packet::udp((Ipv4Addr::new(203, 0, 113, 9), 5000), S), NEW);
}

/// Conformance row M10: the route changes, the flow goes by the other uplink.
#[test]
fn a_flow_that_changes_its_uplink_gets_that_ones_address() {
    let mut object = Object::default();
    let veth = second_uplink(&mut object, "198.18.0.1/24");
    let packet = Packet::udp(A, S);
    let first = object.out(&packet, NEW);
    let second = object.out_by(veth, SECOND, &packet, &[FlowsRemapped]);
    object.back_by(veth, &packet.answer(second), A);
    object.ingress(&packet.answer(first)).untouched(&[]);
    assert_eq!(object.flow(&packet).uplink, IfIndex::new(veth));
    // And back again.
    assert_eq!(object.out(&packet, &[FlowsRemapped]), first);
    object.back(&packet.answer(first), A);
    assert_eq!(object.census().flows, 1);
    object.expect_all_to_go();
}

#[test]
fn two_uplinks_with_one_address() {
    let mut object = Object::default();
    let veth = second_uplink(&mut object, "203.0.113.1/24");
    let packet = Packet::udp(A, S);
    let external = object.out(&packet, NEW);
    assert_eq!(object.out_by(veth, GATEWAY, &packet, &[FlowsRemapped]), external);
    object.back_by(veth, &packet.answer(external), A);
    // Another instance by the other uplink must not get its tuple.
    assert_ne!(object.out_by(veth, GATEWAY, &Packet::udp(B, S), NEW_PORT), external);
    object.census();
    object.expect_all_to_go();
}

#[test]
fn an_uplink_without_a_rule_masquerades_nothing() {
    let mut object = Object::default();
    let veth = second_uplink(&mut object, "198.18.0.1/24");
    object.set_rules(&[(LO, INSIDE, PLAIN)], &[]);
    object.step(Hook::Egress, &Packet::udp(A, S).bytes(), Context::on(veth)).untouched(&[]);
    object.out(&Packet::udp(A, S), NEW);
}

/// The port that the flow had is another instance's at the new address.
#[test]
fn a_flow_that_changes_its_uplink_may_have_to_change_its_port() {
    let mut object = Object::default();
    let veth = second_uplink(&mut object, "198.18.0.1/24");
    object.out_by(veth, SECOND, &Packet::udp(B, S), NEW);
    let packet = Packet::udp(A, S);
    object.out(&packet, NEW);
    let external = object.out_by(veth, SECOND, &packet, &[FlowsRemapped, PortsChanged]);
    assert_ne!(external.1, 5000);
    object.back_by(veth, &packet.answer(external), A);
    object.back_by(veth, &Packet::udp(S, (SECOND, 5000)), B);
    assert_eq!(object.census().flows, 2);
    object.expect_all_to_go();
}
