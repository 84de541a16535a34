//! What arrives at an uplink: replies get their instance's address; everything else is the host's.

use natbpf_common::{
    counter::Counter,
    event::EventKind,
    flow::{Direction, FlowKey, Rewrite, Status},
    life::{Life, RENEWAL},
    protocol::ICMP,
    state,
};

use crate::{
    Handled, Outcome, clock,
    entry::{Entry, Original, timeout},
    event,
    packet::{End, Packet},
    parse::{self, Kind},
    skb::Skb,
    uplink,
};

#[inline(always)]
pub fn handle(skb: &mut Skb<'_>) -> Handled {
    let Some(uplink) = uplink::of(skb) else { return Ok(Outcome::Untouched) };
    let Ok(Some(headers)) = parse::headers(skb, uplink.link_header) else { return Ok(Outcome::Untouched) };
    // ICMP queries are for the host; everything else may be a reply.
    let reply = if headers.protocol == ICMP { Kind::IcmpReply } else { Kind::Forward };
    if !headers.is(reply) {
        return Ok(Outcome::Untouched);
    }
    let key = headers.key(Direction::Reply);
    let Some(entry) = Entry::find(&key) else { return Ok(Outcome::Untouched) };
    let Some(rewrite) = entry.rewrite(&key) else { return Ok(Outcome::Untouched) };
    if !touch(&key, entry, rewrite, headers.tcp_flags) || is_itself(&key, rewrite) {
        return Ok(Outcome::Untouched);
    }
    let translation = headers.translation(End::Destination, rewrite.address, rewrite.port);
    match skb.translate(&translation) {
        Ok(()) => Ok(Outcome::Translated),
        Err(()) => Err(Counter::WriteFailed),
    }
}

/// A reservation of the host's own flow translates nothing.
#[inline(always)]
fn is_itself(key: &FlowKey, rewrite: Rewrite) -> bool {
    key.destination == rewrite.address && key.destination_port == rewrite.port
}

/// Notes a packet of the reply direction in its flow. False: the flow is over.
#[inline(always)]
fn touch(key: &FlowKey, entry: Entry, rewrite: Rewrite, tcp_flags: u8) -> bool {
    let now = clock::now();
    let life = entry.life();
    let Some(age) = Life::age(life, now) else { return false };
    let status = entry.status();
    let flow_age = now.saturating_sub(entry.created());
    let step = state::next(status, key.protocol, Direction::Reply, tcp_flags, flow_age);
    if age < RENEWAL && step.status == status {
        return true;
    }
    if is_itself(key, rewrite) {
        // The host's own: there is no entry of the original direction.
        return if Life::expired(age, timeout(status)) {
            false
        } else {
            entry.swap_life(life, Life::Live(now).to_word()) | true
        };
    }
    confirm(key, entry, life, rewrite, status, step, now)
}

/// Asks the entry of the original direction whether the flow lives, and renews and steps both.
#[inline(always)]
fn confirm(
    key: &FlowKey,
    entry: Entry,
    life: u64,
    rewrite: Rewrite,
    status: Status,
    step: state::Step,
    now: u64,
) -> bool {
    let Some(original) = Original::of(key, rewrite, now) else { return false };
    if step.status != status {
        entry.set_status(step.status);
        original.entry.set_status(step.status);
        event::emit(EventKind::Update, &original.key, original.rewrite, step.status, original.entry.uplink());
    }
    let renewed = Life::Live(now).to_word();
    if step.renews {
        original.entry.swap_life(original.life, renewed);
    }
    entry.swap_life(life, renewed);
    true
}
