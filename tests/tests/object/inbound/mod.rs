//! Flows that begin outside: by a port forward, by a mapping that lets strangers in, and toward an instance's
//! own address.

mod forwards;
mod mappings;
mod refreshing;
mod silence;
mod toward_inside_addresses;
mod unbelieved;

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use lab::object::{
    Census, Context, End, LO, NEW, NEW_PORT, Object, PLAIN, Packet, TIMEOUT, Verdict, key_of, to_ports,
    uplink,
};
use lab::{GATEWAY, INSIDE, SERVER, SERVER2, VM1, VM2};
use natbpf::datapath::Hook;
use natbpf_common::Port;
use natbpf_common::contract::counter::Counter::{
    FlowsCreated, FlowsInbound, FlowsRemapped, HostReserved, IcmpErrorsTranslated, NoPort, PortsChanged,
    PortsOverlapped, Quota, TcpNoFlow, Unsolicited,
};
use natbpf_common::contract::rules::RuleFlags;
use natbpf_common::contract::uplinks::UplinkFlags;
use natbpf_common::contract::{
    forwards::{Forward, ForwardKey},
    rules::Rule,
    uplinks::Uplink,
};
use natbpf_common::flow::Status;
use natbpf_common::flow::state::State;
use natbpf_common::wire::protocol::{GRE, TCP, UDP};
use natbpf_common::wire::segment::{ACK, FIN, PSH, RST, SYN, TcpFlags};

use super::{A, B, S, one_of_each};

/// Who comes from outside, another port of his, and somebody else.
const CLIENT: End = (SERVER, 40000);
const HIS_OTHER: End = (SERVER, 40001);
const STRANGER: End = (SERVER2, 40000);
/// The instance's service, and where the outside finds it.
const SERVICE: End = (VM1, 80);
const FORWARDED: End = (GATEWAY, 8080);

const OPEN: Rule = Rule { flags: RuleFlags::OPEN, ..PLAIN };
const TO_PEERS: Rule = Rule { flags: RuleFlags::OPEN_TO_PEERS, ..PLAIN };

fn forwarding() -> Object {
    let mut object = Object::default();
    object.forward(TCP, FORWARDED.1, SERVICE);
    object.forward(UDP, FORWARDED.1, SERVICE);
    object
}

/// With a rule that lets strangers in.
fn serving(rule: Rule) -> Object {
    let mut object = Object::new(rule);
    object.set_flags(UplinkFlags::SERVES);
    object
}

fn status(object: &Object, answer: &Packet) -> Status {
    Status::from_word(object.flow(answer).status)
}
