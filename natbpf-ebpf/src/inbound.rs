//! Flows that begin outside: by a port forward or a floating address, by a mapping whose filtering lets strangers in, or
//! toward an instance's own address.
//!
//! Their two entries are those of any other flow: the original direction is what leaves. That the flow began outside is
//! a flag of its status.

use aya_ebpf::{bindings::__sk_buff, btf_maps::lpm_trie::Key};
use natbpf_common::{
    Address, Port,
    config::{External, ExternalKey, Forward, ForwardKey, Rule, Uplink},
    counter::Counter,
    event::EventKind,
    flow::{Direction, FlowEntry, FlowKey, Rewrite, Status},
    headers::{Headers, Kind},
    life::Life,
    offload::Validity,
    protocol::{ICMP, TCP},
    state, tcp,
};

use crate::{
    allocate::{self, Search},
    atomic, clock, code, count, create,
    entry::{Entry, timeout},
    event,
    mapping::{self, Joined},
    maps::{EXTERNALS, FORWARDS},
    rules,
    skb::Skb,
    sockets, uplink,
};

const EEXIST: i32 = -17;

/// What the global functions return, beside reasons to drop the packet.
const UNTOUCHED: u32 = 0;
const DONE: u32 = 1;

/// Where a packet from outside leads. Plain numbers alone, for global functions.
#[repr(C)]
struct Target {
    address: Address,
    port: Port,
    /// The flow's [`FlowEntry::traits`].
    traits: u16,
    /// It comes by a mapping.
    by_mapping: u32,
    /// The flags of the rule of that.
    flags: u32,
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
    match enter_inbound(headers, uplink.interface, &raw const target) {
        // Nothing is done to such a packet, whatever comes of it.
        _ if target.traits & FlowEntry::UNTRANSLATED != 0 => Ok(None),
        DONE => Ok(Some(Rewrite { address: target.address, port: target.port, tag: 0 })),
        reason => Err(code::reason(reason)),
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

/// Whether an address is one of the uplink's external ones that the host itself does not have: its stack must not see a
/// packet for it, which it would send back to the outside.
#[inline(always)]
pub fn is_foreign(uplink: &Uplink, address: Address) -> bool {
    uplink.has(Uplink::SERVES) && is_answered(uplink.interface, address) != 0
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
#[inline(always)]
fn target(skb: *mut __sk_buff, interface: u32, key: &FlowKey) -> Option<Target> {
    if let Some(forward) = forward(interface, key) {
        if sockets::is_connected(skb, key) {
            return None;
        }
        let port = match forward.port_offset {
            0 => key.destination_port,
            offset => Port::new(key.destination_port.number().wrapping_add(offset)),
        };
        let traits = Rule::traits_of(forward.flags as u32);
        return Some(Target { address: forward.address, port, traits, by_mapping: 0, flags: 0 });
    }
    if key.protocol == ICMP {
        return None;
    }
    let (address, port, flags) =
        mapping::open_to(key.protocol, key.destination, key.destination_port, key.source)?;
    if sockets::wants(skb, key) {
        return None;
    }
    Some(Target { address, port, traits: Rule::traits_of(flags), by_mapping: 1, flags })
}

/// Whether a stranger's packet with this key of the reply direction is let in somewhere.
#[inline(always)]
pub fn leads_inside(skb: *mut __sk_buff, interface: u32, key: &FlowKey) -> bool {
    target(skb, interface, key).is_some()
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
    match decide(skb, uplink, &headers.key(Direction::Reply), headers.tcp_flags) {
        Ok(Some(target)) => {
            *found = target;
            DONE
        }
        Ok(None) => UNTOUCHED,
        Err(reason) => code::drop(reason),
    }
}

#[inline(always)]
fn decide(
    skb: *mut __sk_buff,
    uplink: &Uplink,
    key: &FlowKey,
    tcp_flags: u8,
) -> Result<Option<Target>, Counter> {
    if let Some(target) = target(skb, uplink.interface, key) {
        return Ok(Some(target));
    }
    if uplink::has(uplink, key.destination) {
        let silent = uplink.has(Uplink::SILENT) && key.protocol == TCP && is_syn(tcp_flags);
        return if silent && !sockets::wants(skb, key) { Err(Counter::Unsolicited) } else { Ok(None) };
    }
    if is_foreign(uplink, key.destination) {
        return Err(Counter::Unsolicited);
    }
    if Skb::of(skb).is_for_many() {
        return Ok(None);
    }
    // Toward an instance's own address: what answers it must not be masqueraded, as netfilter's NAT looks at the first
    // packet of a connection alone.
    if rules::find(uplink.interface, key.destination, key.source).is_none() {
        return Ok(None);
    }
    Ok(Some(Target {
        address: key.destination,
        port: key.destination_port,
        traits: FlowEntry::UNTRANSLATED,
        by_mapping: 0,
        flags: 0,
    }))
}

/// A global function, as [`find_target`] is, and apart from it for the stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn enter_inbound(headers: *const Headers, interface: u32, target: *const Target) -> u32 {
    if headers.is_null() || target.is_null() {
        return code::drop(Counter::Busy);
    }
    // SAFETY: the caller's, checked by the verifier.
    let (headers, target) = unsafe { (&*headers, &*target) };
    match enter(interface, &headers.key(Direction::Reply), headers.tcp_flags, target) {
        Ok(()) => DONE,
        Err(reason) => code::drop(reason),
    }
}

#[inline(always)]
const fn is_syn(tcp_flags: u8) -> bool {
    matches!(tcp::event(tcp_flags), Some(tcp::Event::Syn))
}

/// Enters a flow.
#[inline(always)]
fn enter(interface: u32, key: &FlowKey, tcp_flags: u8, target: &Target) -> Result<(), Counter> {
    let status = state::first(key.protocol, tcp_flags).ok_or(Counter::TcpNoFlow)?.with_inbound();
    let by_mapping = target.by_mapping != 0;
    // A stranger who comes by a mapping has to begin properly.
    if key.has_port_zero() || by_mapping && key.protocol == TCP && !is_syn(tcp_flags) {
        return Err(Counter::Unsolicited);
    }
    let back = Rewrite { address: target.address, port: target.port, tag: key.tag() };
    let original = key.peer(back);
    let out = Rewrite { address: key.destination, port: key.destination_port, tag: original.tag() };
    let (mut status, mut traits) = (status, target.traits);
    // To the instance: whoever fills the table from outside fills its share. One that begins again in its own place is
    // counted already.
    let kept = counted(&original, out);
    if kept != 0 {
        traits |= kept;
    } else if let Some(rule) = rules::find(interface, original.source, original.destination)
        && create::charge(rule, original.source)?
    {
        traits |= FlowEntry::COUNTED;
    }
    // Where strangers must not keep a mapping alive, their flows have no part in it.
    if by_mapping && traits & FlowEntry::OUTBOUND_REFRESH == 0 {
        match join(&original, out, target.flags) {
            NOT_JOINED => {
                create::release(&original, out, status, traits & !kept);
                return Err(Counter::Busy);
            }
            JOINED_AS_PEER => traits |= FlowEntry::PEERED,
            _ => {}
        }
        status = status.with_mapped();
    }
    let search = allocate::search().ok_or(Counter::Busy)?;
    let now = clock::now();
    // SAFETY: nobody else has this processor's search.
    let entry = unsafe { &mut (*search).entry };
    entry.life = Life::Live(now).to_word();
    entry.created = now;
    entry.uplink = interface;
    entry.status = status.to_word();
    entry.traits = traits;
    let entered = match insert(search, key, back, 0) {
        Ok(()) => insert(search, &original, out, kept).inspect_err(|_| Entry::disown(key)),
        failed => failed,
    };
    if entered.is_err() {
        create::release(&original, out, status, traits & !kept);
        return entered;
    }
    count::add(Counter::FlowsInbound);
    event::emit(EventKind::New, &original, out, status, interface);
    Ok(())
}

/// Counts the flow among the users of the mapping that it comes by; also among those of its peer, if the mapping lets
/// only such in. Not inlined, for its stack.
#[inline(never)]
fn join(original: &FlowKey, out: Rewrite, flags: u32) -> u32 {
    let endpoint = mapping::external(original.protocol, out.address, out.port);
    if mapping::join(&endpoint, original.source, original.source_port, flags) != Joined::Yes {
        return NOT_JOINED;
    }
    let peered = flags & Rule::OPEN_TO_PEERS != 0 && mapping::meet(original, out.address, out.port);
    if peered { JOINED_AS_PEER } else { JOINED }
}

const NOT_JOINED: u32 = 0;
const JOINED: u32 = 1;
const JOINED_AS_PEER: u32 = 2;

/// [`FlowEntry::COUNTED`] if the flow is in the table with this translation, and counted to its source; else 0.
#[inline(always)]
fn counted(original: &FlowKey, out: Rewrite) -> u16 {
    match Entry::find(original) {
        Some(entry) if entry.rewrite(original) == Some(out) => entry.traits() & FlowEntry::COUNTED,
        _ => 0,
    }
}

/// Inserts an entry, or takes over one with the same translation: an original direction whose time is over, or a reply
/// direction that was left behind. `kept` are traits that are to be taken over with it, not given back.
#[inline(always)]
fn insert(search: *mut Search, key: &FlowKey, rewrite: Rewrite, kept: u16) -> Result<(), Counter> {
    match allocate::insert(search, key, rewrite) {
        Ok(()) => {
            // It has been removed just now, with all that it held.
            if let (true, Some(entry)) = (kept != 0, Entry::find(key)) {
                entry.set_traits(entry.traits() & !kept);
            }
            return Ok(());
        }
        Err(EEXIST) => {}
        Err(_) => return Err(Counter::TableFull),
    }
    let old = Entry::find(key).ok_or(Counter::Busy)?;
    let (life, status, traits) = (old.life(), old.status(), old.traits());
    let is_original = matches!(key.direction(), Direction::Original);
    let free = match Life::from_word(life) {
        Life::Live(seen) => !is_original || Life::expired(clock::now().saturating_sub(seen), timeout(status)),
        Life::Dying(_) | Life::Killed(_) => true,
        Life::Busy | Life::Gone => false,
    };
    // SAFETY: nobody else has this processor's search.
    let entry = unsafe { &(*search).entry };
    if !free || old.rewrite(key) != Some(rewrite) || !old.swap_life(life, entry.life) {
        return Err(Counter::NoPort);
    }
    if is_original {
        create::release(key, rewrite, status, traits & !kept);
    }
    old.set_validity(Validity::NONE);
    old.set_status(Status::from_word(entry.status));
    old.set_traits(entry.traits & !(kept & !traits));
    old.set_created(entry.created);
    old.set_uplink(entry.uplink);
    Ok(())
}
