//! New flows, and new translations for flows that lost theirs.

use aya_ebpf::bindings::__sk_buff;
use natbpf_common::{
    Address, IfIndex, Port,
    contract::{
        counter::DropReason,
        rules::{Rule, RuleFlags},
        uplinks::{Uplink, UplinkFlags},
    },
    flow::{FlowKey, Rewrite, Traits, life::Life, step},
    wire::{
        protocol::Transport,
        segment::{ACK, TcpFlags},
    },
};

use crate::{
    flow::{
        allocate::{self, Progress, Request, Search},
        early, enter,
        entry::Entry,
        hold, mapping, refusal,
    },
    kernel::{
        clock,
        global::{global, numbered},
    },
    packet::{conntrack, skb::Skb},
    tables::{forwards, pool, rules, uplink},
};

/// What a flow needs before its port is searched for.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Prepared {
    /// No rule is for it: it goes on as it is.
    NoRule = 0,
    Ready = 1,
    /// Another processor has just begun it.
    Begun = 2,
}

numbered!(Prepared { NoRule, Ready, Begun });

/// Whose flow it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Instance,
    /// An instance's that is in the table, and cannot go on as it is there.
    Again,
    /// The host's, which needs another port because an instance has its tuple.
    Host,
}

/// Begins a flow, or gives one that was ended, or whose address or uplink is no longer the right one, a new
/// translation in its place. `None`: it goes on as it is.
///
/// In three [global](crate::kernel::global) functions, whose stacks are not on top of each other. What they
/// tell each other is in the processor's search.
#[inline(always)]
pub fn begin(
    skb: &mut Skb<'_>,
    uplink: &Uplink,
    key: &FlowKey,
    tcp_flags: TcpFlags,
    owner: Owner,
) -> Result<Option<Rewrite>, DropReason> {
    let how = tcp_flags.bits() as u32
        | match owner {
            Owner::Instance => 0,
            Owner::Again => AGAIN,
            Owner::Host => HOST,
        };
    if refusal::is_fresh(key) {
        return Err(DropReason::NoPort);
    }
    conntrack::note(skb.raw());
    let mut begun = attempt(skb, uplink, key, how);
    let again = match begun {
        Err(DropReason::TableFull) => early::make_room(),
        Err(DropReason::Quota) if allocate::is_over() => early::make_room_of(key.source.to_wire()),
        _ => false,
    };
    if again {
        begun = attempt(skb, uplink, key, how);
    }
    if let Err(DropReason::NoPort) = begun {
        refusal::note(key);
    }
    begun
}

#[inline(always)]
fn attempt(
    skb: &mut Skb<'_>,
    uplink: &Uplink,
    key: &FlowKey,
    how: u32,
) -> Result<Option<Rewrite>, DropReason> {
    let found = match prepare_flow(skb.raw(), key, uplink.interface, how)? {
        Prepared::NoRule => return Ok(None),
        Prepared::Ready => allocate::find_port(skb.raw()),
        Prepared::Begun => Progress::Begun,
    };
    let mut rewrite = 0;
    enter_flow(key, found, &mut rewrite)?;
    Ok(Some(Rewrite::from_word(rewrite)))
}

/// Beside the TCP flags: the flow is [`Owner::Host`]'s.
const HOST: u32 = 1 << 8;
/// It is [`Owner::Again`].
const AGAIN: u32 = 1 << 9;

global!(fn prepare_flow(skb: *mut __sk_buff, key: &FlowKey, interface: IfIndex, how: u32) -> Result<Prepared, DropReason> = prepare_flow_inner);

/// Finds rule and address and sets the search for a port up.
#[inline(always)]
fn prepare_flow_inner(
    skb: *mut __sk_buff,
    key: &FlowKey,
    interface: IfIndex,
    how: u32,
) -> Result<Prepared, DropReason> {
    // A copy: Linux 6.1 takes no keys of maps from a pointer that a global function was handed.
    let key = *key;
    let (Some(uplink), Some(search)) = (uplink::of(interface), allocate::search()) else {
        return Err(DropReason::NotConfigured);
    };
    let chosen = match how & HOST != 0 {
        true => choose_for_host(search, uplink, &key, TcpFlags::from_bits_retain(how as u8)),
        false => {
            let entry = Entry::find(&key);
            if entry.is_some() && how & AGAIN == 0 {
                return Ok(Prepared::Begun);
            }
            let Ok(before) = entry.map_or(Ok(0), occupy) else { return Err(DropReason::Busy) };
            // SAFETY: nobody else has this processor's search.
            unsafe { (*search).before = before };
            let counted = entry.is_some_and(|entry| entry.traits().intersects(Traits::COUNTED));
            let chosen = choose(skb, search, uplink, &key, TcpFlags::from_bits_retain(how as u8), counted);
            if let (Some(entry), false) = (entry, matches!(chosen, Ok(true))) {
                entry.set_life(ended(before));
            }
            chosen
        }
    };
    if chosen? { Ok(Prepared::Ready) } else { Ok(Prepared::NoRule) }
}

/// Keeps others from a flow that gets a new translation; returns the life it had.
#[inline(always)]
fn occupy(entry: Entry) -> Result<u64, ()> {
    let life = entry.life();
    let free = !matches!(Life::from_word(life), Life::Busy | Life::Gone);
    // Nothing is as old as 0, which says that there is no flow.
    if free && entry.swap_life(life, Life::Busy.to_word()) { Ok(life | (life == 0) as u64) } else { Err(()) }
}

/// The life of a flow that got none. A mark that stands already stays as old as it is, or steady traffic would keep the
/// flow from being removed.
#[inline(always)]
fn ended(life: u64) -> u64 {
    match Life::from_word(life) {
        Life::Killed(_) => life,
        _ => Life::Killed(clock::now()).to_word(),
    }
}

/// False: no rule.
#[inline(always)]
fn choose(
    skb: *mut __sk_buff,
    search: *mut Search,
    uplink: &Uplink,
    key: &FlowKey,
    tcp_flags: TcpFlags,
    counted: bool,
) -> Result<bool, DropReason> {
    let Some(rule) = rules::find(uplink.interface, key.source, key.destination) else { return Ok(false) };
    // Row M13.
    let status = step::first(key.protocol, tcp_flags).ok_or(DropReason::TcpNoFlow)?;
    if key.has_port_zero() {
        return Err(DropReason::Malformed);
    }
    // Row M06.
    let external = address(skb, uplink, rule, key).ok_or(DropReason::NoAddress)?;
    let mut traits = rule.traits();
    let account = if counted { mapping::CHARGED } else { hold::charge(rule, mapping::OWN, key.source) };
    // SAFETY: nobody else has this processor's search.
    unsafe {
        (*search).charged = !counted && account == mapping::CHARGED;
        (*search).over = account == mapping::REFUSED;
    }
    match account {
        mapping::CHARGED => traits |= Traits::COUNTED,
        mapping::NOT_COUNTED => {}
        _ => return Err(DropReason::Quota),
    }
    let (forwards, known_as) = if uplink.has(UplinkFlags::SERVES) {
        (!uplink.has(UplinkFlags::MOSTLY_FORWARDED), known_as(uplink.interface, key, external))
    } else {
        (false, None)
    };
    let request = Request {
        interface: uplink.interface,
        key,
        external,
        rule: Some(rule),
        status,
        traits,
        forwards,
        known_as,
    };
    allocate::prepare(search, &request);
    Ok(true)
}

/// The port by which the outside reaches this endpoint at the flow's address, by a forward.
#[inline(always)]
fn known_as(interface: IfIndex, key: &FlowKey, external: Address) -> Option<Port> {
    let (address, port) = forwards::known_as(interface, key)?;
    if address == external { Some(port) } else { None }
}

/// False: it must not be moved. In mid-stream the host was there first, and another port would help nobody.
#[inline(always)]
fn choose_for_host(
    search: *mut Search,
    uplink: &Uplink,
    key: &FlowKey,
    tcp_flags: TcpFlags,
) -> Result<bool, DropReason> {
    let Some(status) = step::first(key.protocol, tcp_flags) else { return Ok(false) };
    if tcp_flags.intersects(ACK) {
        return Ok(false);
    }
    let request = Request {
        interface: uplink.interface,
        key,
        external: key.source,
        rule: None,
        status: status.with_host(),
        traits: Traits::empty(),
        forwards: uplink.has(UplinkFlags::SERVES) && !uplink.has(UplinkFlags::MOSTLY_FORWARDED),
        known_as: None,
    };
    // SAFETY: nobody else has this processor's search.
    unsafe {
        (*search).before = 0;
        (*search).charged = false;
        (*search).over = false;
    }
    allocate::prepare(search, &request);
    Ok(true)
}

/// The external address of a new flow.
#[inline(always)]
fn address(skb: *mut __sk_buff, uplink: &Uplink, rule: &Rule, key: &FlowKey) -> Option<Address> {
    // Row N01.
    if rule.has(RuleFlags::FIXED) {
        Some(rule.address)
    } else if rule.has(RuleFlags::POOL) {
        pool::address(rule.pool, key.source)
    } else {
        uplink::address(uplink, skb, key.destination)
    }
}

global!(fn enter_flow(key: &FlowKey, found: Progress, rewrite: &mut u64) -> Result<(), DropReason> = enter_flow_inner);

/// Enters the original direction, after a search that ended so.
#[inline(always)]
fn enter_flow_inner(key: &FlowKey, found: Progress, rewrite: &mut u64) -> Result<(), DropReason> {
    // A copy, as above.
    let key = *key;
    let search = allocate::search().ok_or(DropReason::Busy)?;
    if found == Progress::Begun {
        let other = Entry::find(&key).and_then(|entry| entry.rewrite(&key)).ok_or(DropReason::Busy)?;
        *rewrite = other.to_word();
        return Ok(());
    }
    let entered = if found == Progress::Found {
        enter::outbound(&key, search)
    } else {
        // SAFETY: nobody else has this processor's search.
        if unsafe { (*search).charged } {
            mapping::leave(&mapping::source(key.source));
        }
        Err(match found {
            Progress::Full => DropReason::TableFull,
            // Rows C13, U30.
            _ if Transport::of(key.protocol).has_ports() => DropReason::NoPort,
            _ => DropReason::ProtocolCollision,
        })
    };
    match entered {
        Ok(new) => {
            *rewrite = new.to_word();
            Ok(())
        }
        Err(reason) => {
            // SAFETY: nobody else has this processor's search.
            let before = unsafe { (*search).before };
            if let (true, Some(entry)) = (before != 0, Entry::find(&key)) {
                entry.set_life(ended(before));
            }
            Err(reason)
        }
    }
}
