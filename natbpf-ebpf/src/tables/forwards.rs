//! Which external endpoints lead inside, and by which an inside endpoint is known outside.

use aya_ebpf::btf_maps::lpm_trie::Key;
use natbpf_common::{
    Address, IfIndex, Port,
    contract::forwards::{Forward, ForwardKey},
    flow::FlowKey,
};

use crate::memory::maps::{FORWARDS, REVERSE};

/// The port forward or floating address that the destination of a key of the reply direction is.
#[inline(always)]
pub fn forward(interface: IfIndex, reply: &FlowKey) -> Option<&'static Forward> {
    let key = ForwardKey {
        uplink: interface,
        address: reply.destination,
        protocol: reply.protocol,
        reserved: 0,
        port: reply.destination_port,
    };
    FORWARDS.get(&Key::new(ForwardKey::PORT_BITS, key))
}

/// The external address and port that lead to the source of a key of the original direction: by these it is
/// known outside.
#[inline(always)]
pub fn known_as(interface: IfIndex, original: &FlowKey) -> Option<(Address, Port)> {
    let key = ForwardKey {
        uplink: interface,
        address: original.source,
        protocol: original.protocol,
        reserved: 0,
        port: original.source_port,
    };
    let external = REVERSE.get(&Key::new(ForwardKey::PORT_BITS, key))?;
    Some((external.address, Port::new(original.source_port.number().wrapping_add(external.port_offset))))
}
