//! What leaves by an uplink: packets of instances get the gateway's address, or do not leave.

use aya_log_ebpf::debug;
use natbpf_common::{
    config::Uplink,
    counter::Counter,
    event::EventKind,
    flow::{Direction, FlowKey, Rewrite},
    life::{Life, RENEWAL},
    protocol::{ICMP, icmp::Message},
    state,
};

use crate::{
    Handled, Outcome, clock, create,
    entry::{Entry, timeout},
    event, host,
    packet::{End, Packet},
    parse::{self, Network, Segment},
    rules,
    skb::Skb,
    uplink,
};

#[inline(always)]
pub fn handle(skb: &mut Skb<'_>) -> Handled {
    // The program is attached to uplinks alone, so an unknown one is one in the making.
    let uplink = uplink::of(skb).ok_or(Counter::NotConfigured)?;
    let Some(network) = parse::network(skb, uplink.link_header)? else { return Ok(Outcome::Untouched) };
    let handled = decide(skb, uplink, &network);
    if let Err(reason) = handled {
        // Loaded only for `natbpf -vv`: the level is a constant to the verifier, which leaves dead code out.
        debug!(
            skb,
            "dropped {:i} -> {:i}, protocol {}: reason {}",
            u32::from_be(network.source.to_wire()),
            u32::from_be(network.destination.to_wire()),
            network.protocol,
            reason as u32
        );
    }
    handled
}

/// What becomes of an IPv4 packet.
#[inline(always)]
fn decide(skb: &mut Skb<'_>, uplink: &Uplink, network: &Network) -> Handled {
    let own = uplink::has(uplink, network.source);
    let segment = match network.segment(skb).and_then(|segment| expected(network, segment)) {
        Ok(segment) => segment,
        Err(_) if own => return Ok(Outcome::Untouched),
        Err(reason) => return refuse(skb, network, reason),
    };
    let key = network.key(&segment, Direction::Original);
    let rewrite = if own {
        host::handle(skb, &key, &segment)?
    } else {
        match Entry::find(&key) {
            Some(entry) => known(skb, uplink, &key, entry, &segment)?,
            None => create::create(skb, uplink, &key, &segment)?,
        }
    };
    let Some(rewrite) = rewrite else { return Ok(Outcome::Untouched) };
    let translation = network.translation(&segment, End::Source, rewrite.address, rewrite.port);
    match skb.translate(&translation) {
        Ok(()) => Ok(Outcome::Translated),
        Err(()) => Err(Counter::WriteFailed),
    }
}

/// Of ICMP only queries leave: replies belong to flows from outside, and errors are not translated yet.
#[inline(always)]
fn expected(network: &Network, segment: Segment) -> Result<Segment, Counter> {
    match segment.message {
        _ if network.protocol != ICMP => Ok(segment),
        Message::Request(_) => Ok(segment),
        Message::Reply(_) => Err(Counter::IcmpUnexpected),
        Message::Other => Err(Counter::IcmpError),
    }
}

/// What cannot be translated is dropped if its source is masqueraded, and none of our business if not.
#[inline(always)]
fn refuse(skb: &Skb<'_>, network: &Network, reason: Counter) -> Handled {
    let none = Segment::none();
    match rules::find(skb.interface(), &network.key(&none, Direction::Original)) {
        Some(_) => Err(reason),
        None => Ok(Outcome::Untouched),
    }
}

/// A packet whose flow is in the table, alive or not.
#[inline(always)]
fn known(
    skb: &mut Skb<'_>,
    uplink: &Uplink,
    key: &FlowKey,
    entry: Entry,
    segment: &Segment,
) -> Result<Option<Rewrite>, Counter> {
    let life = entry.life();
    let rewrite = entry.rewrite(key).ok_or(Counter::Busy)?;
    if entry.uplink() != skb.interface() || !uplink::has(uplink, rewrite.address) {
        return create::remap(skb, uplink, key, segment, entry);
    }
    match Life::from_word(life) {
        Life::Live(_) | Life::Dying(_) => {
            touch(key, entry, life, rewrite, segment)?;
            Ok(Some(rewrite))
        }
        Life::Killed(_) => create::remap(skb, uplink, key, segment, entry),
        Life::Busy | Life::Gone => Err(Counter::Busy),
    }
}

/// Notes a packet of the original direction in its flow: renews the time stamp, steps the state, or starts
/// the flow anew if its time was over.
#[inline(always)]
pub fn touch(
    key: &FlowKey,
    entry: Entry,
    life: u64,
    rewrite: Rewrite,
    segment: &Segment,
) -> Result<(), Counter> {
    let now = clock::now();
    let status = entry.status();
    let age = match Life::age(life, now) {
        Some(age) if age < RENEWAL || !Life::expired(age, timeout(status)) => age,
        _ => return restart(key, entry, life, rewrite, segment),
    };
    let flow_age = now.saturating_sub(entry.created());
    let step = state::next(status, key.protocol, Direction::Original, segment.tcp_flags, flow_age);
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
fn restart(
    key: &FlowKey,
    entry: Entry,
    life: u64,
    rewrite: Rewrite,
    segment: &Segment,
) -> Result<(), Counter> {
    let first = state::first(key.protocol, segment.tcp_flags).ok_or(Counter::TcpNoFlow)?;
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
