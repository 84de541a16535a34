//! RFC 5382 REQ-4a.

use super::*;
use natbpf_common::contract::uplinks::UplinkFlags;

#[test]
fn a_syn_for_nobody_is_not_answered() {
    for flags in [UplinkFlags::SILENT, UplinkFlags::SILENT | UplinkFlags::SERVES] {
        let mut object = Object::default();
        object.set_flags(flags);
        object.ingress(&Packet::tcp(CLIENT, (GATEWAY, 4000), SYN)).dropped(Unsolicited);
        let _listener = TcpListener::bind((GATEWAY, 4000)).expect("a listener");
        object.ingress(&Packet::tcp(CLIENT, (GATEWAY, 4000), SYN)).untouched(&[]);
        // The host is the judge of what is no SYN.
        for flags in [ACK, SYN | ACK, RST] {
            object.ingress(&Packet::tcp(CLIENT, (GATEWAY, 4001), flags)).untouched(&[]);
        }
        object.ingress(&Packet::udp(CLIENT, (GATEWAY, 4000))).untouched(&[]);
        object.ingress(&Packet::echo(SERVER, GATEWAY, 5)).untouched(&[]);
        object.ingress(&Packet::other(GRE, SERVER, GATEWAY)).untouched(&[]);
        object.egress(&Packet::echo(GATEWAY, SERVER, 1)).untouched(&[HostReserved]);
    }
    let mut object = Object::default();
    object.ingress(&Packet::tcp(CLIENT, (GATEWAY, 4000), SYN)).untouched(&[]);
}

#[test]
fn flows_and_forwards_are_wanted() {
    let mut object = forwarding();
    object.set_flags(UplinkFlags::SILENT | UplinkFlags::SERVES);
    object.meet(&Packet::tcp(CLIENT, FORWARDED, SYN), SERVICE, &[]);
    let external = object.out(&Packet::tcp(A, S, SYN), NEW);
    // A simultaneous open.
    object.back(&Packet::tcp(S, external, SYN), A);
    object.ingress(&Packet::tcp(STRANGER, external, SYN)).dropped(Unsolicited);
}
