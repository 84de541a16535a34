//! The reaper: takes out what user space found to be over, after looking again.
//!
//! It runs in the kernel because only here a flow's life can be changed by compare-and-swap, against packets
//! that arrive at the same moment. The order of removal: the entry of the original direction is marked gone,
//! which no packet can undo; then the reply direction goes, and it last.

use aya_ebpf::{
    EbpfContext,
    bindings::__sk_buff,
    helpers::generated::{bpf_loop, bpf_skb_load_bytes},
    programs::TcContext,
};
use natbpf_common::{
    Timestamp,
    contract::{
        counter::Counter,
        event::EventKind,
        gauge::Gauge,
        reap::{COUNT, KEYS, OPERATION, Operation, Seen},
    },
    flow::{
        Direction, FlowKey, Traits,
        life::{GRACE, Life, Verdict, judge},
    },
    nat::mapping::{Endpoint, Mapping, Side, Users},
};

use crate::{
    flow::{
        entry::{Entry, timeout},
        hold, mapping,
    },
    kernel::clock,
    memory::{
        gauges,
        maps::{FLOWS, MAPPINGS},
        shared::{Lookup as _, cell},
    },
    tell::{count, event},
};

const REAP: u8 = Operation::Reap as u8;
const KILL: u8 = Operation::Kill as u8;
const UNMAP: u8 = Operation::Unmap as u8;

/// A request being carried out.
struct Request {
    skb: *mut __sk_buff,
    operation: u8,
    now: Timestamp,
    done: u32,
}

/// Carries out a request; returns how many keys it acted on.
#[inline(always)]
pub fn run(ctx: &TcContext) -> i32 {
    let skb = ctx.as_ptr().cast();
    let (Some(operation), Some(keys)) = (load::<u8>(skb, OPERATION as u32), load::<u8>(skb, COUNT as u32))
    else {
        return 0;
    };
    let mut request = Request { skb, operation, now: clock::now(), done: 0 };
    let keys = (keys as u32).min(Operation::Reap.max_keys() as u32);
    let body: unsafe extern "C" fn(u64, *mut Request) -> i64 = step;
    // SAFETY: `step` gets the pointer to `request` while this waits.
    unsafe { bpf_loop(keys, body as *mut _, (&raw mut request).cast(), 0) };
    request.done as i32
}

#[inline(always)]
fn load<T: zerocopy::FromBytes + Copy>(skb: *mut __sk_buff, offset: u32) -> Option<T> {
    let mut value = T::new_zeroed();
    // SAFETY: any bytes make a `T`, and it is as long as said.
    let result =
        unsafe { bpf_skb_load_bytes(skb.cast(), offset, (&raw mut value).cast(), size_of::<T>() as u32) };
    if result == 0 { Some(value) } else { None }
}

unsafe extern "C" fn step(index: u64, request: *mut Request) -> i64 {
    // SAFETY: `handle` owns it and waits.
    let request = unsafe { &mut *request };
    let offset = |operation: Operation| KEYS as u32 + (index as u32) * operation.key_size() as u32;
    let acted = match request.operation {
        REAP => {
            load::<FlowKey>(request.skb, offset(Operation::Reap)).is_some_and(|key| match key.direction() {
                Direction::Original => reap_original(&key, request.now),
                Direction::Reply => reap_reply(&key, request.now),
            })
        }
        KILL => {
            load::<Seen>(request.skb, offset(Operation::Kill)).is_some_and(|seen| kill(&seen, request.now))
        }
        UNMAP => load::<Endpoint>(request.skb, offset(Operation::Unmap))
            .is_some_and(|endpoint| unmap(endpoint, request.now)),
        _ => false,
    };
    if acted {
        request.done += 1;
    }
    0
}

#[inline(always)]
fn reap_original(key: &FlowKey, now: Timestamp) -> bool {
    let Some(entry) = Entry::find(key) else { return false };
    let life = entry.life();
    match judge(Life::from_word(life), now, timeout(entry.status())) {
        Verdict::Keep => false,
        Verdict::Mark(mark) => entry.swap_life(life, mark.to_word()),
        // Answers, which do not keep it alive, are repeated still.
        Verdict::Remove if is_repeated(key, entry, now) => false,
        Verdict::Remove => entry.swap_life(life, Life::Gone.to_word()) && remove(key, entry),
    }
}

/// Whether packets of a flow are repeated just now, in either direction. Only where answers do not renew a flow their
/// direction has another time than the flow.
#[inline(always)]
pub fn is_repeated(key: &FlowKey, entry: Entry, now: Timestamp) -> bool {
    if !entry.traits().intersects(Traits::OUTBOUND_REFRESH) {
        return entry.is_repeated(now);
    }
    let reply = entry.rewrite(key).and_then(|rewrite| Entry::find(&key.peer(rewrite)));
    entry.is_repeated(now) || reply.is_some_and(|reply| reply.is_repeated(now))
}

/// Takes out a flow whose life was swapped to [`Life::Gone`].
#[inline(always)]
pub fn remove(key: &FlowKey, entry: Entry) -> bool {
    let status = entry.status();
    let Some(rewrite) = entry.rewrite(key) else { return false };
    let reply = key.peer(rewrite);
    if belongs(&reply, key) {
        let _ = FLOWS.remove(reply);
    }
    hold::release(key, rewrite, status, entry.traits());
    let uplink = entry.uplink();
    let _ = FLOWS.remove(key);
    count::add(Counter::FlowsRemoved);
    event::emit(EventKind::Destroy, key, rewrite, status, uplink);
    true
}

/// Whether the entry of the reply direction leads back to this flow.
#[inline(always)]
fn belongs(reply: &FlowKey, original: &FlowKey) -> bool {
    Entry::find(reply)
        .and_then(|entry| entry.rewrite(reply))
        .is_some_and(|back| back.address == original.source && back.port == original.source_port)
}

/// Entries of the reply direction go with their flow. By themselves go the host's reservations, and what a
/// change of translation or a lost race has left.
#[inline(always)]
fn reap_reply(key: &FlowKey, now: Timestamp) -> bool {
    let Some(entry) = Entry::find(key) else { return false };
    let Some(rewrite) = entry.rewrite(key) else { return false };
    let life = entry.life();
    let status = entry.status();
    let original = key.peer(rewrite);
    // A flow of the host that was moved to its own port has the key of a reservation.
    if leads_to(&original, key) {
        return false;
    }
    let over = match Life::from_word(life) {
        Life::Live(seen) => {
            let idle = now.since(seen);
            idle > GRACE && (!status.host() || Life::expired(idle, timeout(status)))
        }
        Life::Dying(since) | Life::Killed(since) => now.since(since) > GRACE,
        Life::Busy | Life::Gone => false,
    };
    if !over || !entry.swap_life(life, Life::Gone.to_word()) {
        return false;
    }
    if status.host() && entry.traits().intersects(Traits::COUNTED) && original == key.reversed() {
        mapping::leave(&mapping::source(key.destination));
    }
    let _ = FLOWS.remove(key);
    true
}

/// Whether the entry of the original direction is there and translates to this one.
#[inline(always)]
fn leads_to(original: &FlowKey, reply: &FlowKey) -> bool {
    Entry::find(original)
        .and_then(|entry| entry.rewrite(original))
        .is_some_and(|forward| forward.address == reply.destination && forward.port == reply.destination_port)
}

/// Ends a flow at once: the mark is seen by the next packet of the original direction, and by that of the
/// reply direction because its copy of the time stamp is made stale.
#[inline(always)]
fn kill(seen: &Seen, now: Timestamp) -> bool {
    let key = &seen.key;
    let Some(entry) = Entry::find(key) else { return false };
    // The life first: a new translation changes it, too, so the swap fails if one comes in between.
    let life = entry.life();
    if !entry.is(seen) {
        return false;
    }
    match Life::from_word(life) {
        Life::Live(_) | Life::Dying(_) => {}
        _ => return false,
    }
    if !entry.swap_life(life, Life::Killed(now).to_word()) {
        return false;
    }
    // Its packets are not to be repeated any more.
    gauges::add(Gauge::Ended, 1);
    if let Direction::Original = key.direction()
        && let Some(rewrite) = entry.rewrite(key)
        && let Some(reply) = Entry::find(&key.peer(rewrite))
    {
        reply.swap_life(reply.life(), Life::Live(Timestamp::default()).to_word());
    }
    true
}

/// Takes out the mapping of an external endpoint that no flow has used for a while, and what finds it from
/// the inside.
#[inline(always)]
fn unmap(endpoint: Endpoint, now: Timestamp) -> bool {
    if endpoint.side == Side::Inside as u8 {
        return false;
    }
    let Some(mapping) = MAPPINGS.shared(&endpoint) else { return false };
    let users = cell!(mapping, users);
    let word = users.load();
    let count = Users::from_word(word);
    let rest = now.since(cell!(mapping, idle_since).load());
    if count.is_gone() || count.count() > 0 || rest < Mapping::rest(cell!(mapping, flags).load()) {
        return false;
    }
    let (address, port) = Mapping::unpack(cell!(mapping, other).load());
    if !users.swap(word, count.gone().to_word()) {
        return false;
    }
    if endpoint.side != Side::External as u8 {
        let _ = MAPPINGS.remove(endpoint);
        return true;
    }
    let inside = Endpoint {
        address,
        toward: endpoint.address,
        port,
        protocol: endpoint.protocol,
        side: Side::Inside as u8,
    };
    let this = Mapping::pack(endpoint.address, endpoint.port);
    if let Some(back) = MAPPINGS.shared(&inside)
        && cell!(back, other).load() == this
    {
        let _ = MAPPINGS.remove(inside);
    }
    let _ = MAPPINGS.remove(endpoint);
    true
}
