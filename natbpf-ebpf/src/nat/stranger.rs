//! Packets of strangers and what answers them, until they make a flow (see `natbpf_common::nat::pending`).
//!
//! | packet | is |
//! |---|---|
//! | a stranger's first ones | translated, and remembered |
//! | what the inside answers | translated; UDP and others: the flow begins |
//! | TCP: a segment of the stranger that acknowledges the inside's SYN/ACK | translated; the flow begins |
//!
//! Where no flow may begin, since the table or the inside host's share is full, the conversation goes on all
//! the same, and is remembered here.

use aya_ebpf::{bindings::__sk_buff, btf_maps::PerCpuArray, macros::btf_map};
use natbpf_common::{
    IfIndex, Port,
    contract::{counter::DropReason, gauge::Gauge},
    flow::{Direction, FlowKey, Rewrite, Status, Traits, step},
    nat::pending::{OUTSIDE_PORTS, acknowledges, expect, outside_port},
    time::Nanoseconds,
    wire::{
        headers::Headers,
        protocol::{ICMP, TCP, Transport},
        segment::{RST, SYN},
    },
};

use crate::{
    flow::{
        early, enter,
        entry::Entry,
        pending::{self, Known},
    },
    kernel::{
        clock,
        global::{global, numbered},
    },
    memory::gauges,
    nat::target::Target,
    packet::{
        conntrack::{self, Seen},
        skb::Skb,
    },
};

/// The flow that begins, told by one global function to the next.
#[repr(C)]
struct Next {
    /// The key of the original direction.
    key: FlowKey,
    status: Status,
}

#[btf_map]
static NEXT: PerCpuArray<Next, 1> = PerCpuArray::new();

/// Offsets in a TCP header.
const SEQUENCE: u32 = 4;
const ACKNOWLEDGMENT: u32 = 8;

/// A number of a TCP header, host order.
#[inline(always)]
fn number(skb: *mut __sk_buff, headers: &Headers, offset: u32) -> Option<u32> {
    Skb::of(skb).load::<u32>(headers.transport + offset).map(u32::from_be)
}

/// What becomes of a stranger's packet.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Met {
    /// What would answer it would be taken for something else's.
    Clashes = 0,
    Translated = 1,
    /// Its flow begins with this packet, which [`NEXT`] says more of.
    Begins = 2,
}

numbered!(Met { Clashes, Translated, Begins });

/// What becomes of a packet that may answer a stranger.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Answer {
    /// It answers none.
    None = 0,
    Untouched = 1,
    Translated = 2,
    /// Its flow begins with this packet, which [`NEXT`] says more of.
    Begins = 3,
    /// The same, and it is not translated.
    BeginsUntouched = 4,
}

numbered!(Answer { None, Untouched, Translated, Begins, BeginsUntouched });

/// The translation of a stranger's packet that leads to this place.
#[inline(always)]
pub fn meet(
    skb: *mut __sk_buff,
    headers: &Headers,
    interface: IfIndex,
    target: &Target,
) -> Result<Rewrite, DropReason> {
    for attempt in 0..OUTSIDE_PORTS {
        match meet_stranger(skb, headers, interface, target, attempt)? {
            // Another conversation has this tuple inside.
            Met::Clashes => continue,
            Met::Begins => begin()?,
            Met::Translated => {}
        }
        return Ok(going_to(&FlowKey::of(headers, Direction::Reply), target, attempt));
    }
    Err(DropReason::NoPort)
}

/// Enters the flow that [`NEXT`] names. Where there is no room for it, the conversation goes on without, as
/// long as strangers are remembered: what others send to a host must not silence it.
#[inline(always)]
fn begin() -> Result<(), DropReason> {
    let mut begun = begin_next();
    if begun == Err(DropReason::TableFull) && early::make_room() {
        begun = begin_next();
    }
    match begun {
        Err(DropReason::TableFull | DropReason::Quota) => Ok(()),
        begun => begun,
    }
}

global!(fn meet_stranger(skb: *mut __sk_buff, headers: &Headers, interface: IfIndex, target: &Target, attempt: u32) -> Result<Met, DropReason> = meet_stranger_inner);

/// What becomes of a stranger's packet, if the inside sees him by the port of this attempt.
#[inline(always)]
fn meet_stranger_inner(
    skb: *mut __sk_buff,
    headers: &Headers,
    interface: IfIndex,
    target: &Target,
    attempt: u32,
) -> Result<Met, DropReason> {
    let (key, tcp_flags) = (&FlowKey::of(headers, Direction::Reply), headers.tcp_flags);
    if key.has_port_zero() {
        return Err(DropReason::Unsolicited);
    }
    let may_change = Transport::of(key.protocol).has_ports()
        && !target.traits.intersects(Traits::UNTRANSLATED)
        && key.protocol != ICMP;
    if attempt > 0 && !may_change {
        return Err(DropReason::NoPort);
    }
    let back = going_to(key, target, attempt);
    let original = &key.peer(back);
    let out = answering(key, original, back);
    if Entry::find(original).and_then(|entry| entry.rewrite(original)).is_some_and(|has| has != out) {
        return Ok(Met::Clashes);
    }
    let now = clock::now();
    let first = step::first(key.protocol, tcp_flags);
    if let Some(pending) = Known::find_any(original)
        && let (Some(rewrite), false) = (pending.rewrite(original), pending.is_over(now))
    {
        if rewrite == out {
            let status = pending.status();
            let going_on = !tcp_flags.intersects(SYN.union(RST));
            let step = step::next(status, key.protocol, Direction::Reply, tcp_flags, Nanoseconds::ZERO);
            if key.protocol == TCP && status.seen_reply() && going_on {
                let seen = number(skb, headers, ACKNOWLEDGMENT);
                if !seen.is_some_and(|number| acknowledges(pending.expected(), number)) {
                    // The inside will say what it thinks of that.
                    return Ok(Met::Translated);
                }
                pending.set_expected(0);
                pending.touch(step.status, now);
                note_next(original, step.status)?;
                return Ok(Met::Begins);
            }
            pending.touch(step.status, now);
            return Ok(Met::Translated);
        }
        if !pending.gives_way() || target.traits.intersects(Traits::UNTRANSLATED) {
            return Ok(Met::Clashes);
        }
    }
    let Some(first) = first else { return Err(DropReason::TcpNoFlow) };
    // A stranger who comes by a mapping has to begin properly.
    if target.by_mapping != 0 && key.protocol == TCP && !tcp_flags.opens() {
        return Err(DropReason::Unsolicited);
    }
    let made = pending::remember(original, |new| {
        new.seen = now;
        new.rewrite = out.to_word();
        new.uplink = interface;
        new.flags = target.flags;
        new.status = first.with_inbound().to_word();
        new.traits = target.traits;
        new.outside_port = out.outside_port;
        new.by_mapping = target.by_mapping as u16;
        new.expected = 0;
    });
    made.ok_or(DropReason::Busy)?;
    Ok(Met::Translated)
}

#[inline(always)]
fn note_next(original: &FlowKey, status: Status) -> Result<(), DropReason> {
    let Some(next) = NEXT.get_ptr_mut(0) else { return Err(DropReason::Busy) };
    // SAFETY: the value is this processor's.
    unsafe {
        (*next).key = *original;
        (*next).status = status;
    }
    Ok(())
}

/// The translation of a stranger's packets at an attempt.
#[inline(always)]
fn going_to(key: &FlowKey, target: &Target, attempt: u32) -> Rewrite {
    let outside_port = if attempt == 0 { Port::from_wire(0) } else { outside_port(key, attempt) };
    Rewrite { address: target.address, port: target.port, tag: key.tag(), outside_port }
}

/// The translation of what answers a stranger's packets.
#[inline(always)]
fn answering(key: &FlowKey, original: &FlowKey, back: Rewrite) -> Rewrite {
    let outside_port = if back.has_outside_port() { key.source_port } else { Port::from_wire(0) };
    Rewrite { address: key.destination, port: key.destination_port, tag: original.tag(), outside_port }
}

/// What becomes of a packet from inside that no flow of the table is for. `None`: it answers nobody.
#[inline(always)]
pub fn answer(skb: *mut __sk_buff, headers: &Headers) -> Result<Option<Rewrite>, DropReason> {
    if gauges::read(Gauge::StrangersUntil) < clock::now().number() {
        return Ok(None);
    }
    let (mut rewrite, mut outside) = (0, 0);
    match answer_stranger(skb, headers, &mut rewrite, &mut outside)? {
        Answer::None => return Ok(None),
        Answer::Untouched => return Ok(Some(Rewrite::NONE)),
        Answer::Translated => {}
        Answer::Begins => begin()?,
        Answer::BeginsUntouched => {
            // Without an entry it is known for as long as strangers are.
            let _ = begin();
            return Ok(Some(Rewrite::NONE));
        }
    }
    Ok(Some(Rewrite { outside_port: Port::from_wire(outside as u16), ..Rewrite::from_word(rewrite) }))
}

/// Whether packets with a key of the original direction would answer a stranger.
#[inline(always)]
pub fn is_answer(key: &FlowKey) -> bool {
    translation(key).is_some()
}

/// The translation of what answers a stranger, and its traits.
#[inline(always)]
pub fn translation(key: &FlowKey) -> Option<(Rewrite, Traits)> {
    if gauges::read(Gauge::StrangersUntil) < clock::now().number() {
        return None;
    }
    let known = Known::find(key, clock::now())?;
    Some((known.rewrite(key)?, known.traits()))
}

global!(fn answer_stranger(skb: *mut __sk_buff, headers: &Headers, rewrite: &mut u64, outside: &mut u32) -> Result<Answer, DropReason> = answer_stranger_inner);

#[inline(always)]
fn answer_stranger_inner(
    skb: *mut __sk_buff,
    headers: &Headers,
    rewrite: &mut u64,
    outside: &mut u32,
) -> Result<Answer, DropReason> {
    let (key, tcp_flags) = (FlowKey::of(headers, Direction::Original), headers.tcp_flags);
    // A SYN begins a connection, it answers none.
    if key.protocol == TCP && tcp_flags.opens() {
        return Ok(Answer::None);
    }
    let now = clock::now();
    let Some(known) = Known::find(&key, now) else { return Ok(Answer::None) };
    let Some(out) = known.rewrite(&key) else { return Ok(Answer::None) };
    let untranslated = known.traits().intersects(Traits::UNTRANSLATED);
    // The stranger may have been turned away by a rule, and this begins a conversation by itself. What
    // conntrack does not know at all answers nobody either; only what is turned round never came to it, and
    // that is translated in any case.
    match conntrack::seen(skb) {
        Seen::Original => return Ok(Answer::None),
        Seen::Invalid if untranslated => return Ok(Answer::None),
        _ => {}
    }
    *rewrite = out.to_word();
    *outside = out.outside_port.to_wire() as u32;
    // A refusal is no answer that makes a flow.
    let refuses = key.protocol == TCP && tcp_flags.intersects(RST);
    if key.protocol == TCP {
        if !refuses {
            let status =
                step::next(known.status(), key.protocol, Direction::Original, tcp_flags, Nanoseconds::ZERO)
                    .status;
            if tcp_flags.intersects(SYN) {
                known.set_expected(number(skb, headers, SEQUENCE).map_or(0, expect));
            }
            known.touch(status, now);
        }
        return Ok(if untranslated { Answer::Untouched } else { Answer::Translated });
    }
    let status =
        step::next(known.status(), key.protocol, Direction::Original, tcp_flags, Nanoseconds::ZERO).status;
    known.touch(status, now);
    note_next(&key, status)?;
    Ok(if untranslated { Answer::BeginsUntouched } else { Answer::Begins })
}

global!(fn begin_next() -> Result<(), DropReason> = begin_next_inner);

/// Apart from those before it for the stack.
#[inline(always)]
fn begin_next_inner() -> Result<(), DropReason> {
    let next = NEXT.get_ptr(0).ok_or(DropReason::Busy)?;
    // Used where it is, for the stack.
    // SAFETY: the value is this processor's, and nothing here writes it.
    let Next { key: original, status } = unsafe { &*next };
    let known = Known::find(original, clock::now()).ok_or(DropReason::Busy)?;
    enter::inbound(original, known, *status)?;
    pending::forget(original);
    Ok(())
}
