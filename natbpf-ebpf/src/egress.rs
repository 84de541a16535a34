//! What leaves by an uplink: packets of instances get the gateway's address, or do not leave.

use aya_ebpf::bindings::__sk_buff;
use aya_log_ebpf::debug;
use natbpf_common::{
    config::Uplink,
    counter::Counter,
    event::EventKind,
    flow::{Direction, FlowKey, Rewrite},
    life::{Life, RENEWAL},
    state,
};

use crate::{
    Handled, Outcome, clock, create,
    entry::{Entry, timeout},
    event, host,
    packet::{End, Packet},
    parse::{self, Headers, Kind},
    rules,
    skb::Skb,
    uplink,
};

#[inline(always)]
pub fn handle(skb: &mut Skb<'_>) -> Handled {
    // The program is attached to uplinks alone, so an unknown one is one in the making.
    let uplink = uplink::of(skb).ok_or(Counter::NotConfigured)?;
    let Some(headers) = parse::headers(skb, uplink.link_header)? else { return Ok(Outcome::Untouched) };
    let handled = decide(skb, uplink, &headers);
    if let Err(reason) = handled {
        log(
            skb.raw(),
            headers.source.to_wire(),
            headers.destination.to_wire(),
            headers.protocol as u32,
            reason as u32,
        );
    }
    handled
}

/// Logs a drop. Loaded only for `natbpf -vv`: the level is a constant to the verifier, which leaves dead code out. Not inlined, for its
/// stack.
#[inline(never)]
fn log(skb: *mut __sk_buff, source: u32, destination: u32, protocol: u32, reason: u32) {
    debug!(
        Skb::of(skb),
        "dropped {:i} -> {:i}, protocol {}: reason {}",
        u32::from_be(source),
        u32::from_be(destination),
        protocol,
        reason
    );
}

/// What becomes of an IPv4 packet.
#[inline(always)]
fn decide(skb: &mut Skb<'_>, uplink: &Uplink, headers: &Headers) -> Handled {
    let key = headers.key(Direction::Original);
    let own = uplink::has(uplink, headers.source);
    if !headers.is(Kind::Forward) {
        return if own { Ok(Outcome::Untouched) } else { refuse(skb, headers, &key) };
    }
    let rewrite = if own {
        host::handle(skb, &key, headers.tcp_flags)?
    } else {
        match Entry::find(&key) {
            Some(entry) => known(skb, uplink, &key, entry, headers.tcp_flags)?,
            None => create::create(skb, uplink, &key, headers.tcp_flags)?,
        }
    };
    let Some(rewrite) = rewrite else { return Ok(Outcome::Untouched) };
    let translation = headers.translation(End::Source, rewrite.address, rewrite.port);
    match skb.translate(&translation) {
        Ok(()) => Ok(Outcome::Translated),
        Err(()) => Err(Counter::WriteFailed),
    }
}

/// What cannot be translated is dropped if its source is masqueraded, and none of our business if not. Of ICMP only
/// queries leave: replies belong to flows from outside, and errors are not translated yet.
#[inline(always)]
fn refuse(skb: &Skb<'_>, headers: &Headers, key: &FlowKey) -> Handled {
    if rules::find(skb.interface(), key).is_none() {
        return Ok(Outcome::Untouched);
    }
    Err(if headers.is(Kind::Fragment) {
        Counter::Fragment
    } else if headers.is(Kind::IcmpReply) {
        Counter::IcmpUnexpected
    } else if headers.is(Kind::IcmpOther) {
        Counter::IcmpError
    } else {
        Counter::Malformed
    })
}

/// A packet whose flow is in the table, alive or not.
#[inline(always)]
fn known(
    skb: &mut Skb<'_>,
    uplink: &Uplink,
    key: &FlowKey,
    entry: Entry,
    tcp_flags: u8,
) -> Result<Option<Rewrite>, Counter> {
    let life = entry.life();
    let rewrite = entry.rewrite(key).ok_or(Counter::Busy)?;
    if entry.uplink() != skb.interface() || !uplink::has(uplink, rewrite.address) {
        return create::remap(skb, uplink, key, tcp_flags, entry);
    }
    match Life::from_word(life) {
        Life::Live(_) | Life::Dying(_) => {
            touch(key, entry, life, rewrite, tcp_flags)?;
            Ok(Some(rewrite))
        }
        Life::Killed(_) => create::remap(skb, uplink, key, tcp_flags, entry),
        Life::Busy | Life::Gone => Err(Counter::Busy),
    }
}

/// Notes a packet of the original direction in its flow: renews the time stamp, steps the state, or starts
/// the flow anew if its time was over.
#[inline(always)]
pub fn touch(key: &FlowKey, entry: Entry, life: u64, rewrite: Rewrite, tcp_flags: u8) -> Result<(), Counter> {
    let now = clock::now();
    let status = entry.status();
    let age = match Life::age(life, now) {
        Some(age) if age < RENEWAL || !Life::expired(age, timeout(status)) => age,
        _ => return restart(key, entry, life, rewrite, tcp_flags),
    };
    let flow_age = now.saturating_sub(entry.created());
    let step = state::next(status, key.protocol, Direction::Original, tcp_flags, flow_age);
    if step.status != status {
        entry.set_status(step.status);
        if let Some(reply) = Entry::find(&key.peer(rewrite)) {
            reply.set_status(step.status);
        }
        event::emit(EventKind::Update, key, rewrite, step.status, entry.uplink());
    }
    if step.renews && age >= RENEWAL {
        // If the swap fails another processor has renewed, or the flow was ended after this packet had come.
        entry.swap_life(life, Life::Live(now).to_word());
    }
    Ok(())
}

/// The time of the flow was over, and its instance goes on: the translation stays, the state begins anew.
#[inline(always)]
fn restart(key: &FlowKey, entry: Entry, life: u64, rewrite: Rewrite, tcp_flags: u8) -> Result<(), Counter> {
    let first = state::first(key.protocol, tcp_flags).ok_or(Counter::TcpNoFlow)?;
    let now = clock::now();
    if !entry.swap_life(life, Life::Live(now).to_word()) {
        // Another processor was faster, the reaper or one with the next packet.
        return if Life::age(entry.life(), now).is_some() { Ok(()) } else { Err(Counter::Busy) };
    }
    let status = entry.status().restarted(first);
    entry.set_status(status);
    entry.set_created(now);
    if let Some(reply) = Entry::find(&key.peer(rewrite)) {
        reply.set_status(status);
    }
    event::emit(EventKind::New, key, rewrite, status, entry.uplink());
    Ok(())
}
