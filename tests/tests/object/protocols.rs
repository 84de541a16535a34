//! Protocols without ports: the address alone is translated, and one instance a destination has each of them.

use lab::object::{NEW, Object, Packet};
use lab::{GATEWAY, SERVER, SERVER2, VM1, VM2};
use natbpf_common::contract::counter::Counter::ProtocolCollision;
use natbpf_common::wire::protocol::{DCCP, ESP, GRE, SCTP, UDPLITE};

const PROTOCOLS: [u8; 7] = [GRE, ESP, SCTP, DCCP, UDPLITE, 4, 255];

#[test]
fn there_and_back() {
    let mut object = Object::default();
    for protocol in PROTOCOLS {
        let packet = Packet::other(protocol, VM1, SERVER);
        assert_eq!(object.out(&packet, NEW), (GATEWAY, 0));
        object.back(&packet.answer((GATEWAY, 0)).payload([0x77; 60]), (VM1, 0));
        object.out(&packet, &[]);
    }
}

/// DCCP's and UDP-Lite's are over a pseudo header; one that does not fit into the packet is left to the receiver.
#[test]
fn short_packets() {
    let mut object = Object::default();
    for protocol in PROTOCOLS {
        let mut events = NEW;
        for length in 0..=12 {
            object.out(&Packet::other(protocol, VM1, SERVER).payload(vec![0xab; length]), events);
            events = &[];
        }
    }
}

#[test]
fn a_second_instance_toward_the_same_destination_is_refused() {
    let mut object = Object::default();
    for protocol in PROTOCOLS {
        object.out(&Packet::other(protocol, VM1, SERVER), NEW);
        object.egress(&Packet::other(protocol, VM2, SERVER)).dropped(ProtocolCollision);
        object.out(&Packet::other(protocol, VM2, SERVER2), NEW);
        object.back(&Packet::other(protocol, SERVER, GATEWAY), (VM1, 0));
        object.back(&Packet::other(protocol, SERVER2, GATEWAY), (VM2, 0));
    }
    object.expect_all_to_go();
    object.out(&Packet::other(GRE, VM2, SERVER), NEW);
}
