//! Where strangers' packets lead: by a port forward or a floating address, by a mapping whose filtering lets
//! strangers in, or toward an instance's own address.

use aya_ebpf::bindings::__sk_buff;
use natbpf_common::{
    Address, IfIndex, Port,
    contract::{
        counter::DropReason,
        rules::RuleFlags,
        uplinks::{Uplink, UplinkFlags},
    },
    flow::{Direction, FlowKey, Traits},
    wire::{
        headers::Headers,
        protocol::{ICMP, TCP},
        segment::{self, TcpFlags},
    },
};

use crate::{
    flow::mapping,
    kernel::{global::global, sockets},
    packet::skb::Skb,
    tables::{externals, forwards, rules, uplink},
};

/// Where a packet from outside leads. Plain numbers alone, for global functions.
#[repr(C)]
pub struct Target {
    pub address: Address,
    pub port: Port,
    /// The flow's [`FlowEntry::traits`].
    pub traits: Traits,
    /// It comes by a mapping.
    pub by_mapping: u32,
    /// The flags of the rule of that.
    pub flags: RuleFlags,
}

/// Where the destination of a key of the reply direction leads inside, for a stranger. What a connection of
/// the host waits for is the host's, and what any socket of it waits for does not come by a mapping: the port
/// was free of them when the mapping was made, but nothing keeps the host from taking it later.
///
/// Written where it is wanted: of an `Option` LLVM keeps the undefined fields of `None` in registers, which
/// the verifier refuses.
#[inline(always)]
fn target(skb: *mut __sk_buff, interface: IfIndex, key: &FlowKey, found: &mut Target) -> bool {
    // Row N01.
    if let Some(forward) = forwards::forward(interface, key) {
        if sockets::is_connected(skb, key) {
            return false;
        }
        let port = match forward.port_offset {
            0 => key.destination_port,
            offset => Port::new(key.destination_port.number().wrapping_add(offset)),
        };
        let traits = forward.flags.of_rule().traits();
        *found = Target { address: forward.address, port, traits, by_mapping: 0, flags: RuleFlags::empty() };
        return true;
    }
    // Pings are for the host. Row I25.
    if key.protocol == ICMP {
        return false;
    }
    let Some((address, port, flags)) =
        mapping::open_to(key.protocol, key.destination, key.destination_port, key.source)
    else {
        return false;
    };
    if sockets::wants(skb, key) {
        return false;
    }
    *found = Target { address, port, traits: flags.traits(), by_mapping: 1, flags };
    true
}

/// Whether a stranger's packet with this key of the reply direction is let in somewhere.
#[inline(always)]
pub fn leads_inside(skb: *mut __sk_buff, interface: IfIndex, key: &FlowKey) -> bool {
    // SAFETY: plain numbers.
    let mut found: Target = unsafe { core::mem::zeroed() };
    target(skb, interface, key, &mut found)
}

global!(pub fn find_target(skb: *mut __sk_buff, headers: &Headers, interface: IfIndex, found: &mut Target) -> Result<bool, DropReason> = find_target_inner);

/// Where a packet from outside leads. False: it is the host's, or none that would begin anything.
#[inline(always)]
fn find_target_inner(
    skb: *mut __sk_buff,
    headers: &Headers,
    interface: IfIndex,
    found: &mut Target,
) -> Result<bool, DropReason> {
    let Some(uplink) = uplink::of(interface) else { return Ok(false) };
    choose_target(skb, uplink, &FlowKey::of(headers, Direction::Reply), headers.tcp_flags, found)
}

#[inline(always)]
fn choose_target(
    skb: *mut __sk_buff,
    uplink: &Uplink,
    key: &FlowKey,
    tcp_flags: TcpFlags,
    found: &mut Target,
) -> Result<bool, DropReason> {
    if target(skb, uplink.interface, key, found) {
        return Ok(true);
    }
    if uplink::has(uplink, key.destination) {
        // Rows T06, T07, T09.
        let silent = uplink.has(UplinkFlags::SILENT) && key.protocol == TCP && is_syn(tcp_flags);
        return if silent && !sockets::wants(skb, key) { Err(DropReason::Unsolicited) } else { Ok(false) };
    }
    if externals::is_foreign(uplink, key.destination) {
        return Err(DropReason::Unsolicited);
    }
    if Skb::of(skb).is_for_many() {
        return Ok(false);
    }
    // Nobody outside has an address of ours. Row M24.
    if uplink::has(uplink, key.source) || externals::is_external(key.source) != 0 {
        return Ok(false);
    }
    // Toward an instance's own address: what answers it must not be masqueraded, as netfilter's NAT looks at the first
    // packet of a connection alone. Row M12.
    if rules::find(uplink.interface, key.destination, key.source).is_none() {
        return Ok(false);
    }
    *found = Target {
        address: key.destination,
        port: key.destination_port,
        traits: Traits::UNTRANSLATED,
        by_mapping: 0,
        flags: RuleFlags::empty(),
    };
    Ok(true)
}

#[inline(always)]
const fn is_syn(tcp_flags: TcpFlags) -> bool {
    matches!(segment::event(tcp_flags), Some(segment::Event::Syn))
}
