//! What an inside interface takes off its way to the host, and what becomes of it at the uplink. (Where it
//! goes from there is tested end to end.)

use std::net::{Ipv4Addr, UdpSocket};

use etherparse::EtherType;
use lab::object::{Context, End, LO, NEW, Object, PLAIN, Packet, Verdict, floating};
use lab::{GATEWAY, INSIDE, SERVER, VM1, VM2};
use natbpf::datapath::Hook;
use natbpf_common::IfIndex;
use natbpf_common::contract::counter::Counter::{
    EgressBytes, EgressPackets, FlowsCreated, Hairpin, IngressBytes, IngressPackets,
};
use natbpf_common::contract::forwards::ExternalFlags;
use natbpf_common::contract::rules::RuleFlags;
use natbpf_common::contract::uplinks::UplinkFlags;
use natbpf_common::contract::{forwards::External, rules::Rule};
use natbpf_common::wire::protocol::{GRE, UDP};
use natbpf_common::wire::segment::{ACK, SYN};

use super::{A, B, S};

const FLOATING: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);

/// The gateway's own address is external, and its mappings are open.
fn object() -> Object {
    let mut object = Object::new(Rule { flags: RuleFlags::OPEN, ..PLAIN });
    let own =
        External { uplink: IfIndex::new(LO), flags: ExternalFlags::empty(), mac: [0; 6], reserved: [0; 2] };
    object.set_external(GATEWAY, own);
    object.set_flags(UplinkFlags::SERVES);
    object
}

/// It goes to the uplink, as it is.
#[track_caller]
fn turned(object: &mut Object, packet: &Packet) {
    let after = object.inside(packet).redirected(&[]);
    assert_eq!(after, packet.bytes());
}

#[test]
fn what_leads_to_an_instance() {
    let mut object = object();
    let external = object.out(&Packet::udp(B, S), NEW);
    turned(&mut object, &Packet::udp(A, external));
    // To itself, too.
    turned(&mut object, &Packet::udp(B, external));
    let external = object.out(&Packet::tcp(B, S, SYN), NEW);
    turned(&mut object, &Packet::tcp(A, external, SYN));
    object.forward(UDP, 8080, (VM2, 80));
    turned(&mut object, &Packet::udp(A, (GATEWAY, 8080)));
    object.float(FLOATING, VM2);
    for packet in [
        Packet::udp(A, (FLOATING, 1)),
        Packet::tcp(A, (FLOATING, 1), SYN),
        Packet::echo(VM1, FLOATING, 1),
        Packet::other(GRE, VM1, FLOATING),
    ] {
        turned(&mut object, &packet);
    }
    object.census();
}

/// The tags would come out at the uplink, as the instance chose them.
#[test]
fn tagged_frames_are_left_alone() {
    let mut object = object();
    object.forward(UDP, 8080, (VM2, 80));
    let packet = Packet::udp(A, (GATEWAY, 8080));
    turned(&mut object, &packet);
    for tags in [
        &[(EtherType::VLAN_TAGGED_FRAME, 5)][..],
        &[(EtherType::VLAN_TAGGED_FRAME, 0)],
        &[(EtherType::PROVIDER_BRIDGING, 5), (EtherType::VLAN_TAGGED_FRAME, 6)],
    ] {
        object.inside(&packet.clone().tags(tags)).untouched(&[]);
    }
}

#[test]
fn what_is_for_the_host() {
    let mut object = object();
    let external = object.out(&Packet::udp(B, S), NEW);
    for packet in [
        Packet::udp(A, (GATEWAY, 53)),
        Packet::tcp(A, external, SYN),
        Packet::tcp(A, (GATEWAY, 22), SYN),
        Packet::echo(VM1, GATEWAY, 5000),
        Packet::icmp(VM1, GATEWAY, 0, 5000),
        Packet::icmp_error(VM1, GATEWAY, 3, 3, 0, &Packet::udp((GATEWAY, 53), A).ip_bytes()),
        Packet::icmp_error(VM1, GATEWAY, 3, 3, 0, &[]),
        Packet::other(GRE, VM1, GATEWAY),
        // Or for somebody outside.
        Packet::udp(A, S),
        Packet::udp(A, B),
    ] {
        object.inside(&packet).untouched(&[]);
    }
    // A socket of the host that came later.
    let _socket = UdpSocket::bind(external).expect("a socket");
    object.inside(&Packet::udp(A, external)).untouched(&[]);
}

#[test]
fn only_where_strangers_are_let_in() {
    let mut object = object();
    object.set_rules(&[(LO, INSIDE, PLAIN)], &[]);
    let external = object.out(&Packet::udp(B, S), NEW);
    object.inside(&Packet::udp(A, external)).untouched(&[]);
    object.set_rules(&[(LO, INSIDE, Rule { flags: RuleFlags::OPEN_TO_PEERS, ..PLAIN })], &[]);
    object.out(&Packet::udp(B, (SERVER, 9001)), NEW);
    object.inside(&Packet::udp(A, external)).untouched(&[]);
    // Whom the endpoint has sent to, by the address that he has outside.
    object.out(&Packet::udp(B, (GATEWAY, 1)), NEW);
    turned(&mut object, &Packet::udp(A, external));
}

/// As the other programs would have entered it: the first instance has sent to the second one's external address.
#[test]
fn what_answers_goes_the_same_way() {
    let mut object = object();
    let to: End = object.out(&Packet::tcp(B, S, SYN), NEW);
    let from = object.out(&Packet::tcp((VM1, 6000), to, SYN), NEW);
    object.ingress(&Packet::tcp(from, to, SYN)).translated(&[]);
    turned(&mut object, &Packet::tcp(B, from, SYN | ACK));
    turned(&mut object, &Packet::tcp((VM1, 6000), to, ACK));
    // And an error about it.
    let got = Packet::tcp(from, B, SYN);
    turned(&mut object, &Packet::icmp_error(VM2, GATEWAY, 3, 3, 0, &got.ip_bytes()));
    // It answers a stranger, as yet.
    assert_eq!(object.pending().len(), 1);
    object.census();
}

/// Who claims to be external himself is not turned round (RFC 1812, section 5.3.8).
#[test]
fn forged_sources_are_the_kernels() {
    let mut object = object();
    let external = object.out(&Packet::udp(B, S), NEW);
    object.float(FLOATING, VM2);
    for source in [GATEWAY, FLOATING] {
        object.inside(&Packet::udp((source, 7), external)).untouched(&[]);
        object.inside(&Packet::udp((source, 7), (FLOATING, 7))).untouched(&[]);
    }
}

#[test]
fn only_external_addresses() {
    let mut object = object();
    object.float(FLOATING, VM2);
    object.set_rules(&[(LO, INSIDE, PLAIN), (LO, "10.0.0.12/32", floating(FLOATING))], &[]);
    for other in [Ipv4Addr::new(203, 0, 113, 51), Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::BROADCAST] {
        object.inside(&Packet::udp(A, (other, 5000))).untouched(&[]);
    }
    let mut frame = Packet::udp(A, (FLOATING, 1)).bytes();
    // A header that contradicts itself, and no IPv4.
    frame[14] = 0x42;
    let step = object.step(Hook::Inside, &frame, Context::default());
    step.untouched(&[]);
    frame[12] = 0x86;
    object.step(Hook::Inside, &frame, Context::default()).untouched(&[]);
}

/// At the uplink: translated as if it left and as if it came, and sent where the instance is.
#[test]
fn what_is_turned_round_goes_inside_translated_twice() {
    let mut object = object();
    lab::object::ip("link add name inside type veth peer name instance");
    lab::object::ip("link set inside up");
    lab::object::ip("link set instance up");
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("the test's namespace forwards");
    lab::object::ip("route add 10.0.0.0/24 dev inside");
    object.forward(UDP, 8080, (VM2, 80));
    let packet = Packet::udp(A, (GATEWAY, 8080));
    let step = object.turn(&packet);
    assert_eq!(step.verdict, Verdict::Redirect, "{:?}", step.counted);
    let seen = Packet::udp((GATEWAY, A.1), (VM2, 80)).ttl(packet.ip.time_to_live - 1);
    assert_eq!(step.after, seen.bytes());
    // Where it came in it was counted as turned round; here as what left and came.
    let length = step.after.len() as u64;
    let counted = [
        (EgressPackets, 1),
        (EgressBytes, length),
        (IngressPackets, 1),
        (IngressBytes, length),
        (FlowsCreated, 1),
    ];
    assert_eq!(step.counted, counted.map(|(counter, times)| (counter.name(), times)).into());
    assert_eq!(object.pending().len(), 1, "the service has not answered");
    object.census();
}

/// What leads nowhere inside, or has no hop left, must not leave by the uplink.
#[test]
fn what_cannot_be_turned_round_is_dropped() {
    let mut object = object();
    object.forward(UDP, 8080, (VM2, 80));
    for packet in [
        Packet::udp(A, (GATEWAY, 9)),
        Packet::udp(A, (GATEWAY, 8080)).ttl(1),
        Packet::udp(A, (GATEWAY, 8080)),
    ] {
        let step = object.turn(&packet);
        assert_eq!(step.verdict, Verdict::Drop, "{:?}", step.counted);
        assert_eq!(step.counted.get(Hairpin.name()), Some(&1), "{:?}", step.counted);
    }
    // Said of one packet, it is said of no other.
    object.out(&Packet::udp(A, S), NEW);
}
