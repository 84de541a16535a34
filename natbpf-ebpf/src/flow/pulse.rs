//! The pulse of a flow: each of its packets steps the state and renews the time, or finds that the flow is over.
//!
//! | direction | a packet that changes nothing else | any packet |
//! |---|---|---|
//! | original | | [`original`] |
//! | reply | [`reply_goes_on`] | [`reply`] |

use natbpf_common::{
    contract::{counter::DropReason, event::EventKind},
    flow::{
        Direction, FlowKey, Rewrite, Status, Traits,
        life::{Life, RENEWAL},
        step::{self, Step},
    },
    time::{Moment, Timestamp},
    wire::segment::TcpFlags,
};

use super::entry::{Entry, Original, timeout};
use crate::{kernel::clock, tell::event};

/// Whether a flow's time is over.
#[inline(always)]
pub fn is_over(life: u64, status: Status) -> Result<bool, DropReason> {
    match Life::from_word(life) {
        Life::Live(seen) => Ok(Life::expired(clock::now().since(seen), timeout(status))),
        Life::Dying(_) | Life::Killed(_) => Ok(true),
        Life::Busy | Life::Gone => Err(DropReason::Busy),
    }
}

/// Notes a packet of the original direction in its flow, or starts the flow anew if its time was over. `life` was read
/// before anything else of the entry.
#[inline(always)]
pub fn original(
    key: &FlowKey,
    entry: Entry,
    life: u64,
    rewrite: Rewrite,
    tcp_flags: TcpFlags,
) -> Result<(), DropReason> {
    let now = clock::now();
    let status = entry.status();
    let age = match Life::age(life, now) {
        Some(age) if age < RENEWAL || !Life::expired(age, timeout(status)) => age,
        _ => return restart(key, entry, life, rewrite, tcp_flags),
    };
    let step = step(key, entry, status, Direction::Original, tcp_flags, now);
    if step.status != status {
        entry.step_status(status, step.status);
        if let Some(reply) = Entry::find(&key.peer(rewrite)) {
            reply.step_status(reply.status(), step.status);
        }
        event::emit(EventKind::Update, key, rewrite, step.status, entry.uplink());
    }
    if step.renews && age >= RENEWAL {
        // If the swap fails another processor has renewed, or the flow was ended after this packet had come. Row U12.
        entry.swap_life(life, Life::Live(now).to_word());
    }
    Ok(())
}

/// The time of the flow was over, and its instance goes on: the translation stays, the state begins anew.
#[inline(always)]
fn restart(
    key: &FlowKey,
    entry: Entry,
    life: u64,
    rewrite: Rewrite,
    tcp_flags: TcpFlags,
) -> Result<(), DropReason> {
    let first = step::first(key.protocol, tcp_flags).ok_or(DropReason::TcpNoFlow)?;
    let now = clock::now();
    if !entry.swap_life(life, Life::Live(now).to_word()) {
        // Another processor was faster, the reaper or one with the next packet.
        return if Life::age(entry.life(), now).is_some() { Ok(()) } else { Err(DropReason::Busy) };
    }
    let status = entry.status().restarted(first);
    entry.set_status(status);
    entry.set_created(Moment::of(now));
    if let Some(reply) = Entry::find(&key.peer(rewrite)) {
        reply.set_status(status);
    }
    event::emit(EventKind::New, key, rewrite, status, entry.uplink());
    Ok(())
}

/// Notes a packet of the reply direction in its flow. False: the flow is over.
#[inline(always)]
pub fn reply(key: &FlowKey, entry: Entry, rewrite: Rewrite, tcp_flags: TcpFlags, now: Timestamp) -> bool {
    reply_goes_on(key, entry, tcp_flags, now) || confirm(key, entry, rewrite, tcp_flags) != 0
}

/// Whether a packet of the reply direction changes nothing about its flow, which was asked less than a second ago.
#[inline(always)]
pub fn reply_goes_on(key: &FlowKey, entry: Entry, tcp_flags: TcpFlags, now: Timestamp) -> bool {
    let status = entry.status();
    Life::age(entry.life(), now).is_some_and(|age| age < RENEWAL)
        && step(key, entry, status, Direction::Reply, tcp_flags, now).status == status
}

/// Asks the entry of the original direction whether the flow lives, and renews and steps both. 0: it is over.
/// Not inlined, for its stack.
#[inline(never)]
fn confirm(key: &FlowKey, entry: Entry, rewrite: Rewrite, tcp_flags: TcpFlags) -> u32 {
    let now = clock::now();
    let (life, status) = (entry.life(), entry.status());
    let Some(age) = Life::age(life, now) else { return 0 };
    if status.host() && is_itself(key, rewrite) {
        // The host's own: there is no entry of the original direction.
        return if Life::expired(age, timeout(status)) {
            0
        } else {
            entry.swap_life(life, Life::renewed(life, now));
            1
        };
    }
    let step = step(key, entry, status, Direction::Reply, tcp_flags, now);
    let Some(original) = Original::of(key, rewrite, now) else { return 0 };
    if step.status != status {
        entry.step_status(status, step.status);
        original.entry.step_status(original.entry.status(), step.status);
        event::emit(EventKind::Update, &original.key, original.rewrite, step.status, original.entry.uplink());
    }
    if step.renews && !entry.traits().intersects(Traits::OUTBOUND_REFRESH) {
        original.entry.swap_life(original.life, Life::renewed(original.life, now));
    }
    entry.swap_life(life, Life::renewed(life, now));
    1
}

/// Packets of a tuple are repeated until then, and its flow sees none of them: to it, they have all come already. So a
/// flow is not over while its packets may be repeated, and gives way to no other: what has its ports next would get
/// what is repeated.
#[inline(always)]
pub fn run_until(key: &FlowKey, until: Timestamp) {
    let Some(entry) = Entry::find(key) else { return };
    let ahead = Life::Live(until).to_word();
    let life = entry.life();
    if Life::age(life, until).is_none() {
        return;
    }
    entry.swap_life(life, ahead);
    if key.direction() == Direction::Reply
        && !entry.traits().intersects(Traits::OUTBOUND_REFRESH)
        && let Some(rewrite) = entry.rewrite(key)
        && let Some(original) = Original::of(key, rewrite, until)
    {
        original.entry.swap_life(original.life, ahead);
    }
}

/// A reservation of the host's own flow, and a flow toward an instance's own address, translate nothing.
#[inline(always)]
pub fn is_itself(key: &FlowKey, rewrite: Rewrite) -> bool {
    key.destination == rewrite.address && key.destination_port == rewrite.port
}

/// A packet of the host's own flow, which has an entry of the reply direction alone.
#[inline(always)]
pub fn reservation(entry: Entry) {
    let (life, now) = (entry.life(), clock::now());
    if Life::age(life, now).is_some_and(|age| age >= RENEWAL) {
        entry.swap_life(life, Life::Live(now).to_word());
    }
}

/// What a packet does to the flow's state.
#[inline(always)]
fn step(
    key: &FlowKey,
    entry: Entry,
    status: Status,
    direction: Direction,
    tcp_flags: TcpFlags,
    now: Timestamp,
) -> Step {
    let flow_age = entry.created().age(now);
    step::next(status, key.protocol, direction, tcp_flags, flow_age)
}
