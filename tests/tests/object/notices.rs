//! What user space is told of packets that found no room.

use lab::object::{NEW, Object, PLAIN, Packet, to_ports, uplink};
use lab::{SERVER, VM1, VM2};
use natbpf_common::contract::counter::Counter::{
    self, NoAddress, NoPort, ProtocolCollision, Quota, TableFull, TcpNoFlow,
};
use natbpf_common::contract::counter::DropReason;
use natbpf_common::contract::notice::{INTERVAL, QUOTED};
use natbpf_common::contract::{gauge::Gauge, rules::Rule};
use natbpf_common::wire::protocol::GRE;
use natbpf_common::wire::segment::{RST, SYN};
use natbpf_common::{SECOND, Timestamp};

use super::{A, B, S};

/// The one notice of a packet that is dropped for this reason.
#[track_caller]
fn told(object: &mut Object, packet: &Packet, reason: Counter) {
    object.notices();
    object.egress(packet).dropped(reason);
    let notices = object.notices();
    let [notice] = &notices[..] else { panic!("{} notices of {reason:?}", notices.len()) };
    assert_eq!(notice.reason, reason as u32);
    let bytes = packet.ip_bytes();
    let length = bytes.len().min(QUOTED);
    assert_eq!(notice.length as usize, length);
    assert_eq!(notice.packet[..length], bytes[..length], "as the instance sent it");
    assert!(DropReason::from_number(notice.reason).is_some_and(DropReason::is_noticed));
}

#[test]
fn of_each_reason_that_the_sender_should_know() {
    let mut object = Object::new(Rule { max_flows: 1, ..PLAIN });
    object.out(&Packet::udp(A, S), NEW);
    told(&mut object, &Packet::udp((VM1, 1), S), Quota);
    told(&mut object, &Packet::echo(VM1, SERVER, 1), Quota);

    let mut object = Object::new(to_ports(50000, 50000));
    object.out(&Packet::udp((VM1, 50000), S), NEW);
    told(&mut object, &Packet::udp(B, S), NoPort);
    object.out(&Packet::other(GRE, VM1, SERVER), NEW);
    told(&mut object, &Packet::other(GRE, VM2, SERVER), ProtocolCollision);
    object.set_uplinks(&[uplink(lab::object::LO, &[])]);
    told(&mut object, &Packet::tcp(B, S, SYN), NoAddress);

    let mut object = Object::sized(PLAIN, 2, 8);
    let running = Packet::udp(A, S);
    let external = object.out(&running, NEW);
    object.back(&running.answer(external), A);
    told(&mut object, &Packet::tcp(B, S, SYN).options(10), TableFull);
}

#[test]
fn as_much_of_a_packet_as_an_error_quotes() {
    let mut object = Object::new(Rule { max_flows: 1, ..PLAIN });
    object.out(&Packet::udp(A, S), NEW);
    for length in [0, 1, QUOTED - 29, QUOTED - 28, QUOTED - 27, 1400, 3000] {
        told(&mut object, &Packet::udp((VM1, 1), S).payload(vec![0x5a; length]), Quota);
        told(
            &mut object,
            &Packet::udp((VM1, 1), S).payload(vec![0x5a; length]).tags(&[lab::object::CUSTOMER_TAG]),
            Quota,
        );
    }
}

/// Frames that are filled up: what follows the packet is none of it.
#[test]
fn not_of_what_fills_a_frame_up() {
    let mut object = Object::new(Rule { max_flows: 1, ..PLAIN });
    object.out(&Packet::udp(A, S), NEW);
    object.notices();
    let packet = Packet::udp((VM1, 1), S).payload(*b"x");
    let mut frame = packet.bytes();
    frame.resize(60, 0);
    object.step(natbpf::datapath::Hook::Egress, &frame, lab::object::Context::default()).dropped(Quota);
    let notices = object.notices();
    assert_eq!(notices.iter().map(|notice| notice.length as usize).collect::<Vec<_>>(), [29]);
}

#[test]
fn not_of_what_is_wrong_with_the_packet() {
    let mut object = Object::new(Rule { max_flows: 1, ..PLAIN });
    object.out(&Packet::udp(A, S), NEW);
    object.notices();
    object.egress(&Packet::tcp(A, S, RST)).dropped(TcpNoFlow);
    object.egress(&Packet::icmp(VM1, SERVER, 0, 1)).dropped(Counter::IcmpUnexpected);
    object.egress(&Packet::icmp(VM1, SERVER, 3, 1)).dropped(Counter::IcmpError);
    object.egress(&Packet::icmp(VM1, SERVER, 40, 1)).dropped(Counter::IcmpOther);
    assert!(object.notices().is_empty());
}

/// A source that floods is told a thousand times a second at most.
#[test]
fn no_more_than_one_in_a_millisecond() {
    let mut object = Object::new(Rule { max_flows: 1, ..PLAIN });
    object.out(&Packet::udp(A, S), NEW);
    object.notices();
    object.egress(&Packet::udp((VM1, 1), S)).dropped(Quota);
    object.set_gauge(Gauge::NoticeAfter, u64::MAX >> 1);
    for _ in 0..10 {
        object.egress(&Packet::udp((VM1, 1), S)).dropped(Quota);
    }
    assert_eq!(object.notices().len(), 1);
    object.egress(&Packet::udp((VM1, 1), S)).dropped(Quota);
    let after = Timestamp::new(object.gauge(Gauge::NoticeAfter));
    let now = natbpf::clock::now();
    assert!(after <= now + INTERVAL && after + SECOND > now);
    assert_eq!(object.notices().len(), 1);
}
