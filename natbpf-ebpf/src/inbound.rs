//! Where strangers' packets lead: by a port forward or a floating address, by a mapping whose filtering lets strangers in, or
//! toward an instance's own address.
//!
//! The two entries of such a flow are those of any other one: the original direction is what leaves. That it began outside is
//! a flag of its status. When it begins is said in `stranger`.

use aya_ebpf::{bindings::__sk_buff, btf_maps::lpm_trie::Key};
use natbpf_common::{
    Address, Port,
    contract::{
        counter::Counter,
        forwards::{External, ExternalKey, Forward, ForwardKey},
        rules::Rule,
        uplinks::Uplink,
    },
    flow::{Direction, FlowEntry, FlowKey, Rewrite},
    wire::{
        headers::{Headers, Kind},
        protocol::{ICMP, TCP},
        segment,
    },
};

use crate::{
    atomic, code, mapping,
    maps::{EXTERNALS, FORWARDS, REVERSE},
    rules,
    skb::Skb,
    sockets, stranger, uplink,
};

/// What the global functions return, beside reasons to drop the packet.
const UNTOUCHED: u32 = 0;
const DONE: u32 = 1;

/// Where a packet from outside leads. Plain numbers alone, for global functions.
#[repr(C)]
pub struct Target {
    pub address: Address,
    pub port: Port,
    /// The flow's [`FlowEntry::traits`].
    pub traits: u16,
    /// It comes by a mapping.
    pub by_mapping: u32,
    /// The flags of the rule of that.
    pub flags: u32,
}

/// A packet from outside that belongs to no flow. `None`: it is the host's.
#[inline(always)]
pub fn begin(skb: &mut Skb<'_>, uplink: &Uplink, headers: &Headers) -> Result<Option<Rewrite>, Counter> {
    let special = uplink.has(Uplink::SERVES) || uplink.has(Uplink::SILENT);
    if !special && uplink::has(uplink, headers.destination) {
        return Ok(None);
    }
    // An answer begins nothing.
    if headers.is(Kind::IcmpReply) {
        return if is_foreign(uplink, headers.destination) { Err(Counter::Unsolicited) } else { Ok(None) };
    }
    // SAFETY: plain numbers.
    let mut target: Target = unsafe { core::mem::zeroed() };
    match find_target(skb.raw(), headers, uplink.interface, &raw mut target) {
        UNTOUCHED => return Ok(None),
        DONE => {}
        reason => return Err(code::reason(reason)),
    }
    match stranger::meet(skb.raw(), headers, uplink.interface, &target) {
        // Nothing is done to such a packet, whatever comes of it.
        _ if target.traits & FlowEntry::UNTRANSLATED != 0 => Ok(None),
        met => met.map(Some),
    }
}

/// The port forward or floating address that the destination of a key of the reply direction is.
#[inline(always)]
pub fn forward(interface: u32, reply: &FlowKey) -> Option<&'static Forward> {
    let key = ForwardKey {
        uplink: interface,
        address: reply.destination,
        protocol: reply.protocol,
        reserved: 0,
        port: reply.destination_port,
    };
    FORWARDS.get(&Key::new(ForwardKey::PORT_BITS, key))
}

/// The external address and port that lead to the source of a key of the original direction: by these it is known outside.
#[inline(always)]
pub fn known_as(interface: u32, original: &FlowKey) -> Option<(Address, Port)> {
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

/// Whether an address is one of the uplink's external ones that the host itself does not have: its stack must not see a
/// packet for it, which it would send back to the outside.
#[inline(always)]
pub fn is_foreign(uplink: &Uplink, address: Address) -> bool {
    uplink.has(Uplink::SERVES) && is_answered(uplink.interface, address) != 0
}

/// Whether an address is external on any uplink with hairpinning. Not inlined, for the stack of its callers.
#[inline(never)]
fn is_external(address: Address) -> u32 {
    EXTERNALS.get_ptr(ExternalKey { uplink: 0, address }).is_some() as u32
}

/// Not inlined, for the stack of its callers.
#[inline(never)]
fn is_answered(interface: u32, address: Address) -> u32 {
    EXTERNALS.get_ptr(ExternalKey { uplink: interface, address }).map_or(0, |external| {
        // SAFETY: a projection, no access.
        atomic::load(unsafe { &raw const (*external).flags }) & External::ANSWER
    })
}

/// Where the destination of a key of the reply direction leads inside, for a stranger. What a connection of the host waits
/// for is the host's, and what any socket of it waits for does not come by a mapping: the port was free of them when the
/// mapping was made, but nothing keeps the host from taking it later.
///
/// Written where it is wanted: of an `Option` LLVM keeps the undefined fields of `None` in registers, which the verifier refuses.
#[inline(always)]
fn target(skb: *mut __sk_buff, interface: u32, key: &FlowKey, found: &mut Target) -> bool {
    if let Some(forward) = forward(interface, key) {
        if sockets::is_connected(skb, key) {
            return false;
        }
        let port = match forward.port_offset {
            0 => key.destination_port,
            offset => Port::new(key.destination_port.number().wrapping_add(offset)),
        };
        let traits = Rule::traits_of(forward.flags as u32);
        *found = Target { address: forward.address, port, traits, by_mapping: 0, flags: 0 };
        return true;
    }
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
    *found = Target { address, port, traits: Rule::traits_of(flags), by_mapping: 1, flags };
    true
}

/// Whether a stranger's packet with this key of the reply direction is let in somewhere.
#[inline(always)]
pub fn leads_inside(skb: *mut __sk_buff, interface: u32, key: &FlowKey) -> bool {
    // SAFETY: plain numbers.
    let mut found: Target = unsafe { core::mem::zeroed() };
    target(skb, interface, key, &mut found)
}

/// A global function, so that the verifier follows it once: see `parse`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_target(
    skb: *mut __sk_buff,
    headers: *const Headers,
    interface: u32,
    found: *mut Target,
) -> u32 {
    if headers.is_null() || found.is_null() {
        return UNTOUCHED;
    }
    // SAFETY: the caller's, checked by the verifier.
    let (headers, found) = unsafe { (&*headers, &mut *found) };
    let Some(uplink) = uplink::of(interface) else { return UNTOUCHED };
    match decide(skb, uplink, &FlowKey::of(headers, Direction::Reply), headers.tcp_flags, found) {
        Ok(true) => DONE,
        Ok(false) => UNTOUCHED,
        Err(reason) => code::drop(reason),
    }
}

#[inline(always)]
fn decide(
    skb: *mut __sk_buff,
    uplink: &Uplink,
    key: &FlowKey,
    tcp_flags: u8,
    found: &mut Target,
) -> Result<bool, Counter> {
    if target(skb, uplink.interface, key, found) {
        return Ok(true);
    }
    if uplink::has(uplink, key.destination) {
        let silent = uplink.has(Uplink::SILENT) && key.protocol == TCP && is_syn(tcp_flags);
        return if silent && !sockets::wants(skb, key) { Err(Counter::Unsolicited) } else { Ok(false) };
    }
    if is_foreign(uplink, key.destination) {
        return Err(Counter::Unsolicited);
    }
    if Skb::of(skb).is_for_many() {
        return Ok(false);
    }
    // Nobody outside has an address of ours.
    if uplink::has(uplink, key.source) || is_external(key.source) != 0 {
        return Ok(false);
    }
    // Toward an instance's own address: what answers it must not be masqueraded, as netfilter's NAT looks at the first
    // packet of a connection alone.
    if rules::find(uplink.interface, key.destination, key.source).is_none() {
        return Ok(false);
    }
    *found = Target {
        address: key.destination,
        port: key.destination_port,
        traits: FlowEntry::UNTRANSLATED,
        by_mapping: 0,
        flags: 0,
    };
    Ok(true)
}

#[inline(always)]
const fn is_syn(tcp_flags: u8) -> bool {
    matches!(segment::event(tcp_flags), Some(segment::Event::Syn))
}
