//! Giving one end of a packet another address and port: checksums are right afterwards if they were right before, and
//! wrong if they were wrong; nothing else changes; the way back restores every byte.

use natbpf_common::wire::checksum;
use natbpf_common::wire::headers::{Found, Headers, Kind};
use natbpf_common::wire::packet::Touched;
use natbpf_common::wire::packet::{End, Translation};
use natbpf_common::wire::protocol::Transport;

use crate::Reached;
use crate::input::{Bytes, Input};
use crate::ports::has_port;
use crate::sums::{assert_same, half, is_right, of_header, put, transport_is_right};

pub fn check(data: &[u8]) -> Reached {
    let Some(input) = Input::read(data) else { return Reached::Nothing };
    let mut packet = input.linear();
    let Some(mut headers) = read(&mut packet, input.link_header) else { return Reached::Nothing };
    if !headers.is(Kind::Forward) && !headers.is(Kind::IcmpReply) {
        return Reached::Read;
    }
    if input.mend {
        let sum = of_header(&packet.bytes[headers.network as usize..headers.transport as usize]);
        put(&mut packet.bytes, headers.network + 10, sum.to_ne_bytes());
        headers.checksum = half(&packet.bytes, headers.network + 10);
    }
    let end = if input.destination { End::Destination } else { End::Source };
    let (old_address, old_port) = match end {
        End::Source => (headers.source, headers.source_port),
        End::Destination => (headers.destination, headers.destination_port),
    };
    let has_port = has_port(headers.protocol, headers.is(Kind::IcmpReply), input.destination);
    let port = if has_port { input.port } else { old_port };

    let before = packet.bytes.clone();
    let there = headers.translation(end, input.address, port);
    apply(&mut packet.bytes, &there);
    only_the_end_has_changed(&before, &packet.bytes, &headers, end);
    sums_follow(&before, &packet.bytes, &headers);

    let after = read(&mut packet, input.link_header).expect("it still is IPv4");
    let seen = match end {
        End::Source => (after.source, after.source_port),
        End::Destination => (after.destination, after.destination_port),
    };
    assert_eq!(seen, (input.address, port), "the end that the packet has now");
    apply(&mut packet.bytes, &after.translation(end, old_address, old_port));
    assert_same(&before, &packet.bytes, &[headers.network + 10, there.checksum]);
    Reached::Whole
}

fn read(packet: &mut Bytes, link_header: u32) -> Option<Headers> {
    let mut headers = Headers::default();
    (headers.read(packet, link_header) == Found::Ipv4).then_some(headers)
}

/// What the datapath has the kernel's helpers do.
fn apply(bytes: &mut [u8], change: &Translation) {
    let (old, new) = (change.old.to_wire(), change.new.to_wire());
    if change.checksum != 0 {
        if change.has(Touched::PSEUDO_HEADER) {
            replace(bytes, change, |sum| checksum::replace_word(sum, old, new));
        }
        if change.port != 0 {
            let ports = (change.old_port.to_wire(), change.new_port.to_wire());
            replace(bytes, change, |sum| checksum::replace_half(sum, ports.0, ports.1));
        }
    }
    if change.port != 0 {
        put(bytes, change.port, change.new_port.to_wire().to_ne_bytes());
    }
    let header = checksum::replace_address(change.network_checksum, change.old, change.new);
    put(bytes, change.network + 10, header.to_ne_bytes());
    let at = change.network + if change.has(Touched::DESTINATION) { 16 } else { 12 };
    put(bytes, at, new.to_ne_bytes());
}

/// `bpf_l4_csum_replace`, with `BPF_F_MARK_MANGLED_0` where zero says that there is no checksum.
fn replace(bytes: &mut [u8], change: &Translation, new: impl Fn(u16) -> u16) {
    let sum = half(bytes, change.checksum);
    let optional = change.has(Touched::ZERO_IS_NONE);
    if optional && sum == 0 {
        return;
    }
    let sum = match new(sum) {
        0 if optional => 0xffff,
        sum => sum,
    };
    put(bytes, change.checksum, sum.to_ne_bytes());
}

/// Addresses, ports and checksums aside every byte is as it was, and of the other end these, too.
fn only_the_end_has_changed(before: &[u8], after: &[u8], headers: &Headers, end: End) {
    assert_eq!(before.len(), after.len());
    let (network, transport) = (headers.network as usize, headers.transport as usize);
    let address = network + if end == End::Destination { 16 } else { 12 };
    let (port, sum) = match Transport::of(headers.protocol) {
        Transport::Icmp => (Some(transport + 4), Some(transport + 2)),
        Transport::Tcp => {
            (Some(transport + if end == End::Destination { 2 } else { 0 }), Some(transport + 16))
        }
        Transport::Udp => {
            (Some(transport + if end == End::Destination { 2 } else { 0 }), Some(transport + 6))
        }
        Transport::Other { checksum } => (None, checksum.map(|at| transport + usize::from(at))),
    };
    let halves = [Some(network + 10), port, sum];
    for (at, (one, other)) in before.iter().zip(after).enumerate() {
        let may = (address..address + 4).contains(&at)
            || halves.iter().flatten().any(|half| (*half..half + 2).contains(&at));
        assert!(one == other || may, "byte {at} has changed");
    }
}

fn sums_follow(before: &[u8], after: &[u8], headers: &Headers) {
    let parts = |bytes: &[u8]| {
        let (network, transport) = (headers.network as usize, headers.transport as usize);
        let body = &bytes[transport..transport + headers.payload as usize];
        let header = bytes[network..transport].to_vec();
        let sum = (headers.fragment == 0).then(|| transport_is_right(&header, body)).flatten();
        (is_right(&header), sum)
    };
    // UDP's length may be less than that of the packet; its checksum covers as much.
    let (was, is) = (parts(before), parts(after));
    assert_eq!(was.0, is.0, "the header's checksum was right: {}, and is: {}", was.0, is.0);
    assert_eq!(was.1, is.1, "the transport checksum was right: {:?}, and is: {:?}", was.1, is.1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets;

    #[test]
    fn built_and_damaged_packets() {
        packets::run(check, packets::input(packets::packet()));
    }
}
