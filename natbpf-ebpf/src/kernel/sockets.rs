//! Ports that the host's own sockets use.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::generated::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
};
use natbpf_common::{Address, Port, flow::FlowKey, wire::protocol};

/// The namespace of the packet's device, as `BPF_F_CURRENT_NETNS`.
const CURRENT_NETNS: u64 = u64::MAX;

/// The IPv4 member of the kernel's `bpf_sock_tuple`, alone: the union is three times as long, and the stack
/// is short.
#[repr(C)]
struct Ipv4Tuple {
    source: Address,
    destination: Address,
    source_port: Port,
    destination_port: Port,
}

/// Whether a packet with this key of the reply direction would reach a connection of the host, and no socket that takes
/// packets from anybody.
#[inline(always)]
pub fn is_connected(skb: *mut __sk_buff, reply: &FlowKey) -> bool {
    let nobody = FlowKey { source: Address::UNSPECIFIED, source_port: Port::from_wire(0), ..*reply };
    wants(skb, reply) && !wants(skb, &nobody)
}

/// Whether a packet with this key of the reply direction would reach a socket of the host: a connection, or
/// one that listens.
#[inline(always)]
pub fn wants(skb: *mut __sk_buff, reply: &FlowKey) -> bool {
    let mut tuple = Ipv4Tuple {
        source: reply.source,
        destination: reply.destination,
        source_port: reply.source_port,
        destination_port: reply.destination_port,
    };
    // The helpers tell the address family by the size.
    let (pointer, size) = ((&raw mut tuple).cast(), size_of::<Ipv4Tuple>() as u32);
    let context = skb.cast();
    // SAFETY: the context and the tuple are valid.
    let socket: *mut bpf_sock = unsafe {
        match reply.protocol {
            protocol::TCP => bpf_skc_lookup_tcp(context, pointer, size, CURRENT_NETNS, 0),
            protocol::UDP => bpf_sk_lookup_udp(context, pointer, size, CURRENT_NETNS, 0),
            _ => return false,
        }
    };
    if socket.is_null() {
        return false;
    }
    // SAFETY: a lookup that finds a socket holds it.
    unsafe { bpf_sk_release(socket.cast()) };
    true
}
