//! ARP requests for external addresses that the host does not have.

use std::net::Ipv4Addr;

use lab::SERVER;
use lab::object::{Context, LO, MAC, Object, Step};
use natbpf::datapath::Hook;
use natbpf_common::IfIndex;
use natbpf_common::contract::counter::Counter::ArpAnswered;
use natbpf_common::contract::forwards::External;
use natbpf_common::contract::forwards::ExternalFlags;
use natbpf_common::contract::uplinks::UplinkFlags;
use natbpf_common::wire::arp::Arp;
use zerocopy::IntoBytes as _;

const FLOATING: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);
const ASKER: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
const ARP: [u8; 2] = [8, 6];

/// An Ethernet frame of 60 bytes, as short ones are filled up on the wire.
fn frame(destination: [u8; 6], source: [u8; 6], packet: &Arp) -> Vec<u8> {
    let mut frame = [&destination[..], &source, &ARP, packet.as_bytes()].concat();
    frame.resize(60, 0);
    frame
}

fn question() -> Vec<u8> {
    frame([0xff; 6], ASKER, &Arp::request(ASKER, SERVER.octets(), FLOATING.octets()))
}

fn object() -> Object {
    let mut object = Object::default();
    object.answer_for(FLOATING);
    object.set_flags(UplinkFlags::SERVES);
    object
}

fn ask(object: &mut Object, frame: &[u8]) -> Step {
    object.step(Hook::Ingress, frame, Context::default())
}

#[test]
fn a_request_is_answered() {
    let mut object = object();
    let after = ask(&mut object, &question()).redirected(&[ArpAnswered]);
    let answer = Arp::request(ASKER, SERVER.octets(), FLOATING.octets()).answer(MAC);
    assert_eq!(after, frame(ASKER, MAC, &answer));
    // Byte by byte, by RFC 826.
    let expected = [
        &ASKER[..],
        &MAC,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
        &MAC,
        &[203, 0, 113, 50],
        &ASKER,
        &[203, 0, 113, 10],
    ];
    assert_eq!(after[..42], expected.concat());
}

/// By who looks whether the address is free (RFC 5227), and by who asks again before he forgets.
#[test]
fn probes_and_unicast_requests_too() {
    let mut object = object();
    lab::object::ip("link set lo address 02:00:00:00:00:aa");
    let probe = Arp::request(ASKER, [0; 4], FLOATING.octets());
    for (destination, question) in
        [([0xff; 6], probe), (MAC, Arp::request(ASKER, SERVER.octets(), FLOATING.octets()))]
    {
        let step = ask(&mut object, &frame(destination, ASKER, &question));
        let after = step.redirected(&[ArpAnswered]);
        assert_eq!(after, frame(ASKER, MAC, &question.answer(MAC)));
    }
    // A frame that was not filled up.
    let short = &question()[..42];
    ask(&mut object, short).redirected(&[ArpAnswered]);
}

#[test]
fn everything_else_is_the_hosts() {
    let mut object = object();
    let request = |target: Ipv4Addr| Arp::request(ASKER, SERVER.octets(), target.octets());
    for other in [lab::GATEWAY, SERVER, Ipv4Addr::new(203, 0, 113, 51), lab::VM1] {
        ask(&mut object, &frame([0xff; 6], ASKER, &request(other))).untouched(&[]);
    }
    // An answer, a request for something else than IPv4 over Ethernet.
    ask(&mut object, &frame(MAC, ASKER, &request(FLOATING).answer(MAC))).untouched(&[]);
    for (offset, value) in [(14, 1), (15, 2), (16, 0x86), (17, 1), (18, 8), (19, 16), (20, 1), (21, 3)] {
        let mut frame = question();
        frame[offset] = value;
        ask(&mut object, &frame).untouched(&[]);
    }
    // Cut short, and another type of frame.
    for length in [14, 20, 41] {
        if let Some(step) = object.try_step(Hook::Ingress, &question()[..length], Context::default()) {
            step.untouched(&[]);
        }
    }
    for (high, low) in [(0x86, 0xdd), (0x81, 0), (0x88, 0xcc)] {
        let mut frame = question();
        (frame[12], frame[13]) = (high, low);
        ask(&mut object, &frame).untouched(&[]);
    }
}

#[test]
fn who_does_not_serve_does_not_answer() {
    let mut object = object();
    object.set_flags(UplinkFlags::empty());
    ask(&mut object, &question()).untouched(&[]);
    object.set_flags(UplinkFlags::SERVES);
    object.set_external(
        FLOATING,
        External { uplink: IfIndex::new(LO), flags: ExternalFlags::empty(), mac: MAC, reserved: [0; 2] },
    );
    ask(&mut object, &question()).untouched(&[]);
    // What leaves is the host's own.
    object.answer_for(FLOATING);
    object.step(Hook::Egress, &question(), Context::default()).untouched(&[]);
}
