//! Packets of strangers and what answers them, until they make a flow (see `natbpf_common::nat::pending`).
//!
//! | packet | is |
//! |---|---|
//! | a stranger's first ones | translated, and remembered |
//! | what the inside answers | translated; UDP and others: the flow begins |
//! | TCP: a segment of the stranger that acknowledges the inside's SYN/ACK | translated; the flow begins |
//!
//! Where no flow may begin, since the table or the inside host's share is full, the conversation goes on all the same, and is remembered here.

use aya_ebpf::{
    bindings::__sk_buff,
    btf_maps::{LruHashMap, PerCpuArray},
    macros::btf_map,
};
use natbpf_common::{
    Nanoseconds, Port,
    contract::{
        counter::{Counter, DropReason},
        event::EventKind,
        gauge::Gauge,
        rules::Rule,
    },
    flow::{Direction, FlowEntry, FlowKey, Rewrite, Status, life::Life, offload::Validity, step},
    nat::pending::{LIFETIME, MAX_PENDING, OUTSIDE_PORTS, Pending, acknowledges, expect, outside_port},
    time::Moment,
    wire::{
        headers::Headers,
        protocol::{ICMP, TCP, Transport},
        segment,
    },
};

use crate::{
    flow::{
        allocate::{self, Search},
        early,
        entry::{Entry, timeout},
        hold,
        mapping::{self, Joined},
    },
    kernel::{
        clock,
        global::{global, numbered},
    },
    memory::{
        gauges,
        shared::{Lookup as _, Shared, cell},
    },
    nat::target::Target,
    packet::{
        conntrack::{self, Seen},
        skb::Skb,
    },
    tables::rules,
    tell::{count, event},
};

const EEXIST: i32 = -17;

/// LRU: a flood of strangers pushes out strangers. Preallocated.
#[btf_map]
static PENDING: LruHashMap<FlowKey, Pending, MAX_PENDING> = LruHashMap::new();

/// The one that is being made, for the stack.
#[btf_map]
static NEW: PerCpuArray<Pending, 1> = PerCpuArray::new();

/// The flow that begins, told by one global function to the next.
#[repr(C)]
struct Next {
    /// Of the original direction.
    key: FlowKey,
    status: Status,
}

#[btf_map]
static NEXT: PerCpuArray<Next, 1> = PerCpuArray::new();

/// A stranger in the table. Others may write it at the same time, and the tag tells if it is another one's by now.
#[derive(Clone, Copy)]
struct Known(Shared<Pending>);

impl Known {
    #[inline(always)]
    fn rewrite(self, key: &FlowKey) -> Option<Rewrite> {
        let (word, outside_port) = (cell!(self.0, rewrite).load(), cell!(self.0, outside_port).load());
        let rewrite = Rewrite { outside_port, ..Rewrite::from_word(word) };
        if rewrite.tag == key.tag() { Some(rewrite) } else { None }
    }

    #[inline(always)]
    fn is_over(self, now: Nanoseconds) -> bool {
        now.saturating_sub(cell!(self.0, seen).load()) > LIFETIME
    }

    #[inline(always)]
    fn status(self) -> Status {
        Status::from_word(cell!(self.0, status).load())
    }

    #[inline(always)]
    fn traits(self) -> u16 {
        cell!(self.0, traits).load()
    }

    /// One more packet.
    #[inline(always)]
    fn touch(self, status: Status, now: Nanoseconds) {
        cell!(self.0, status).store(status.to_word());
        cell!(self.0, seen).store(now);
        expect_strangers(now);
    }

    /// Of [`Pending::expected`].
    #[inline(always)]
    fn expected(self) -> u32 {
        cell!(self.0, expected).load()
    }

    #[inline(always)]
    fn set_expected(self, number: u32) {
        cell!(self.0, expected).store(number);
    }

    /// Nobody has answered it, and no rule of the operator's sent it inside.
    #[inline(always)]
    fn gives_way(self) -> bool {
        self.traits() & FlowEntry::UNTRANSLATED != 0 && !self.status().seen_reply()
    }
}

/// There is a stranger who waits for an answer.
#[inline(always)]
fn expect_strangers(now: Nanoseconds) {
    if let Some(until) = gauges::cell(Gauge::StrangersUntil)
        && until.load() < now + LIFETIME / 2
    {
        until.store(now + LIFETIME);
    }
}

/// Offsets in a TCP header.
const SEQUENCE: u32 = 4;
const ACKNOWLEDGMENT: u32 = 8;

/// A number of a TCP header, host order.
#[inline(always)]
fn number(skb: *mut __sk_buff, headers: &Headers, offset: u32) -> Option<u32> {
    Skb::of(skb).load::<u32>(headers.transport + offset).map(u32::from_be)
}

/// What becomes of a packet of a stranger, or one that may answer him.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Met {
    /// It is of no stranger; or what would answer him would be taken for something else's.
    Unknown = 0,
    Untouched = 1,
    Translated = 2,
    /// Its flow begins with this packet, which [`NEXT`] says more of.
    Begins = 3,
    /// The same, and it is not translated.
    BeginsUntouched = 4,
}

numbered!(Met { Unknown, Untouched, Translated, Begins, BeginsUntouched });

/// The translation of a stranger's packet that leads to this place.
#[inline(always)]
pub fn meet(
    skb: *mut __sk_buff,
    headers: &Headers,
    interface: u32,
    target: &Target,
) -> Result<Rewrite, DropReason> {
    for attempt in 0..OUTSIDE_PORTS {
        match meet_stranger(skb, headers, interface, target, attempt)? {
            // Another conversation has this tuple inside.
            Met::Unknown => continue,
            Met::Begins => begin()?,
            _ => {}
        }
        return Ok(going_to(&FlowKey::of(headers, Direction::Reply), target, attempt));
    }
    Err(DropReason::NoPort)
}

/// Enters the flow that [`NEXT`] names. Where there is no room for it, the conversation goes on without, as long as strangers are remembered: what
/// others send to a host must not silence it.
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

global!(fn meet_stranger(skb: *mut __sk_buff, headers: &Headers, interface: u32, target: &Target, attempt: u32) -> Result<Met, DropReason> = meet_stranger_inner);

/// What becomes of a stranger's packet, if the inside sees him by the port of this attempt.
#[inline(always)]
fn meet_stranger_inner(
    skb: *mut __sk_buff,
    headers: &Headers,
    interface: u32,
    target: &Target,
    attempt: u32,
) -> Result<Met, DropReason> {
    let (key, tcp_flags) = (&FlowKey::of(headers, Direction::Reply), headers.tcp_flags);
    if key.has_port_zero() {
        return Err(DropReason::Unsolicited);
    }
    let may_change = Transport::of(key.protocol).has_ports()
        && target.traits & FlowEntry::UNTRANSLATED == 0
        && key.protocol != ICMP;
    if attempt > 0 && !may_change {
        return Err(DropReason::NoPort);
    }
    let back = going_to(key, target, attempt);
    let original = &key.peer(back);
    let out = answering(key, original, back);
    if Entry::find(original).and_then(|entry| entry.rewrite(original)).is_some_and(|has| has != out) {
        return Ok(Met::Unknown);
    }
    let now = clock::now();
    let first = step::first(key.protocol, tcp_flags);
    if let Some(pending) = PENDING.shared(original) {
        let pending = Known(pending);
        if let (Some(rewrite), false) = (pending.rewrite(original), pending.is_over(now)) {
            if rewrite == out {
                let status = pending.status();
                let going_on = tcp_flags & (segment::SYN | segment::RST) == 0;
                let step = step::next(status, key.protocol, Direction::Reply, tcp_flags, 0);
                if key.protocol == TCP && status.seen_reply() && going_on {
                    let seen = number(skb, headers, ACKNOWLEDGMENT);
                    if !seen.is_some_and(|number| acknowledges(pending.expected(), number)) {
                        // The inside will say what it thinks of that.
                        return Ok(Met::Translated);
                    }
                    pending.set_expected(0);
                    pending.touch(step.status, now);
                    return note_next(original, step.status);
                }
                pending.touch(step.status, now);
                return Ok(Met::Translated);
            }
            if !pending.gives_way() || target.traits & FlowEntry::UNTRANSLATED != 0 {
                return Ok(Met::Unknown);
            }
        }
    }
    let Some(first) = first else { return Err(DropReason::TcpNoFlow) };
    // A stranger who comes by a mapping has to begin properly.
    if target.by_mapping != 0
        && key.protocol == TCP
        && tcp_flags & (segment::SYN | segment::ACK) != segment::SYN
    {
        return Err(DropReason::Unsolicited);
    }
    let Some(new) = NEW.get_ptr_mut(0) else { return Err(DropReason::Busy) };
    // SAFETY: the value is this processor's.
    let new = unsafe { &mut *new };
    new.seen = now;
    new.rewrite = out.to_word();
    new.uplink = interface;
    new.flags = target.flags;
    new.status = first.with_inbound().to_word();
    new.traits = target.traits;
    new.outside_port = out.outside_port;
    new.by_mapping = target.by_mapping as u16;
    new.expected = 0;
    // If there is no room at this moment what answers finds nothing, and the stranger asks again.
    let made: &Pending = new;
    let _ = PENDING.insert(original, made, 0);
    expect_strangers(now);
    Ok(Met::Translated)
}

#[inline(always)]
fn note_next(original: &FlowKey, status: Status) -> Result<Met, DropReason> {
    let Some(next) = NEXT.get_ptr_mut(0) else { return Err(DropReason::Busy) };
    // SAFETY: the value is this processor's.
    unsafe {
        (*next).key = *original;
        (*next).status = status;
    }
    Ok(Met::Begins)
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
    if gauges::read(Gauge::StrangersUntil) < clock::now() {
        return Ok(None);
    }
    let (mut rewrite, mut outside) = (0, 0);
    match answer_stranger(skb, headers, &mut rewrite, &mut outside)? {
        Met::Unknown => return Ok(None),
        Met::Untouched => return Ok(Some(Rewrite::NONE)),
        Met::Translated => {}
        Met::Begins => begin()?,
        Met::BeginsUntouched => {
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
pub fn translation(key: &FlowKey) -> Option<(Rewrite, u16)> {
    if gauges::read(Gauge::StrangersUntil) < clock::now() {
        return None;
    }
    let known = find(key, clock::now())?;
    Some((known.rewrite(key)?, known.traits()))
}

#[inline(always)]
fn find(key: &FlowKey, now: Nanoseconds) -> Option<Known> {
    let known = Known(PENDING.shared(key)?);
    if known.is_over(now) { None } else { Some(known) }
}

global!(fn answer_stranger(skb: *mut __sk_buff, headers: &Headers, rewrite: &mut u64, outside: &mut u32) -> Result<Met, DropReason> = answer_stranger_inner);

#[inline(always)]
fn answer_stranger_inner(
    skb: *mut __sk_buff,
    headers: &Headers,
    rewrite: &mut u64,
    outside: &mut u32,
) -> Result<Met, DropReason> {
    let (key, tcp_flags) = (FlowKey::of(headers, Direction::Original), headers.tcp_flags);
    // A SYN begins a connection, it answers none.
    if key.protocol == TCP && tcp_flags & (segment::SYN | segment::ACK) == segment::SYN {
        return Ok(Met::Unknown);
    }
    let now = clock::now();
    let Some(known) = find(&key, now) else { return Ok(Met::Unknown) };
    let Some(out) = known.rewrite(&key) else { return Ok(Met::Unknown) };
    let untranslated = known.traits() & FlowEntry::UNTRANSLATED != 0;
    // The stranger may have been turned away by a rule, and this begins a conversation by itself. What conntrack does not know at all answers
    // nobody either; only what is turned round never came to it, and that is translated in any case.
    match conntrack::seen(skb) {
        Seen::Original => return Ok(Met::Unknown),
        Seen::Invalid if untranslated => return Ok(Met::Unknown),
        _ => {}
    }
    *rewrite = out.to_word();
    *outside = out.outside_port.to_wire() as u32;
    // A refusal is no answer that makes a flow.
    let refuses = key.protocol == TCP && tcp_flags & segment::RST != 0;
    if key.protocol == TCP {
        if !refuses {
            let status = step::next(known.status(), key.protocol, Direction::Original, tcp_flags, 0).status;
            if tcp_flags & segment::SYN != 0 {
                known.set_expected(number(skb, headers, SEQUENCE).map_or(0, expect));
            }
            known.touch(status, now);
        }
        return Ok(if untranslated { Met::Untouched } else { Met::Translated });
    }
    let status = step::next(known.status(), key.protocol, Direction::Original, tcp_flags, 0).status;
    known.touch(status, now);
    let begins = note_next(&key, status)?;
    Ok(if untranslated { Met::BeginsUntouched } else { begins })
}

global!(fn begin_next() -> Result<(), DropReason> = begin_next_inner);

/// Apart from those before it for the stack.
#[inline(always)]
fn begin_next_inner() -> Result<(), DropReason> {
    let next = NEXT.get_ptr(0).ok_or(DropReason::Busy)?;
    // Used where it is, for the stack.
    // SAFETY: the value is this processor's, and nothing here writes it.
    let Next { key: original, status } = unsafe { &*next };
    let known = find(original, clock::now()).ok_or(DropReason::Busy)?;
    enter(original, known, *status)?;
    let _ = PENDING.remove(original);
    Ok(())
}

/// Enters a flow that was pending.
#[inline(always)]
fn enter(original: &FlowKey, known: Known, mut status: Status) -> Result<(), DropReason> {
    let out = known.rewrite(original).ok_or(DropReason::Busy)?;
    let (uplink, flags) = (cell!(known.0, uplink).load(), cell!(known.0, flags).load());
    let by_mapping = cell!(known.0, by_mapping).load() != 0;
    let key = original.peer(out);
    let back = Rewrite {
        address: original.source,
        port: original.source_port,
        tag: key.tag(),
        outside_port: if out.has_outside_port() { original.destination_port } else { Port::from_wire(0) },
    };
    let mut traits = known.traits();
    // To the instance, which has answered. One that begins again in its own place is counted already.
    let kept = counted(original, out);
    if kept != 0 {
        traits |= kept;
    } else if let Some(rule) = rules::find(uplink, original.source, original.destination) {
        match hold::charge(rule, mapping::INBOUND, original.source) {
            mapping::CHARGED => traits |= FlowEntry::COUNTED_INBOUND,
            mapping::NOT_COUNTED => {}
            _ => return Err(DropReason::Quota),
        }
    }
    // Where strangers must not keep a mapping alive, their flows have no part in it.
    if by_mapping && traits & FlowEntry::OUTBOUND_REFRESH == 0 {
        if join(original, out, flags) == NOT_JOINED {
            hold::release(original, out, status, traits & !kept);
            return Err(DropReason::Busy);
        }
        // From here and not from there, for the stack.
        if flags & Rule::OPEN_TO_PEERS != 0 && mapping::meet(original, out.address, out.port) {
            traits |= FlowEntry::PEERED;
        }
        status = status.with_mapped();
    }
    let search = allocate::search().ok_or(DropReason::Busy)?;
    let now = clock::now();
    // SAFETY: nobody else has this processor's search.
    let entry = unsafe { &mut (*search).entry };
    entry.life = Life::Live(now).to_word();
    entry.created = Moment::of(now);
    entry.uplink = uplink;
    entry.status = status.to_word();
    entry.traits = traits;
    let entered = match insert(search, &key, back, 0) {
        Ok(()) => insert(search, original, out, kept).inspect_err(|_| Entry::disown(&key)),
        failed => failed,
    };
    if entered.is_err() {
        hold::release(original, out, status, traits & !kept);
        return entered;
    }
    count::add(Counter::FlowsInbound);
    early::remember(original);
    event::emit(EventKind::New, original, out, status, uplink);
    Ok(())
}

/// Counts the flow among the users of the mapping that it comes by. Not inlined, for its stack.
#[inline(never)]
fn join(original: &FlowKey, out: Rewrite, flags: u32) -> u32 {
    let endpoint = mapping::external(original.protocol, out.address, out.port);
    match mapping::join(&endpoint, original.source, original.source_port, flags) {
        Joined::Yes => JOINED,
        _ => NOT_JOINED,
    }
}

const NOT_JOINED: u32 = 0;
const JOINED: u32 = 1;

/// Of [`FlowEntry::COUNTED_ANYWHERE`], if the flow is in the table with this translation.
#[inline(always)]
fn counted(original: &FlowKey, out: Rewrite) -> u16 {
    match Entry::find(original) {
        Some(entry) if entry.rewrite(original) == Some(out) => entry.traits() & FlowEntry::COUNTED_ANYWHERE,
        _ => 0,
    }
}

/// Inserts an entry, or takes over one with the same translation: an original direction whose time is over, or a reply
/// direction that was left behind. `kept` are traits that are to be taken over with it, not given back.
#[inline(always)]
fn insert(search: *mut Search, key: &FlowKey, rewrite: Rewrite, kept: u16) -> Result<(), DropReason> {
    match allocate::insert(search, key, rewrite) {
        Ok(()) => {
            // It has been removed just now, with all that it held.
            if let (true, Some(entry)) = (kept != 0, Entry::find(key)) {
                entry.set_traits(entry.traits() & !kept);
            }
            return Ok(());
        }
        Err(EEXIST) => {}
        Err(_) => return Err(DropReason::TableFull),
    }
    let old = Entry::find(key).ok_or(DropReason::Busy)?;
    let (life, status, traits) = (old.life(), old.status(), old.traits());
    let is_original = matches!(key.direction(), Direction::Original);
    let free = match Life::from_word(life) {
        Life::Live(seen) => !is_original || Life::expired(clock::now().saturating_sub(seen), timeout(status)),
        Life::Dying(_) | Life::Killed(_) => true,
        Life::Busy | Life::Gone => false,
    };
    // SAFETY: nobody else has this processor's search.
    let entry = unsafe { &(*search).entry };
    if !free || old.rewrite(key) != Some(rewrite) || !old.swap_life(life, Life::Busy.to_word()) {
        return Err(DropReason::NoPort);
    }
    if is_original {
        hold::release(key, rewrite, status, traits & !kept);
    }
    old.set_validity(Validity::NONE);
    old.set_status(Status::from_word(entry.status));
    old.set_traits(entry.traits & !(kept & !traits));
    old.set_created(entry.created);
    old.set_uplink(entry.uplink);
    old.set_life(entry.life);
    Ok(())
}
