//! What leaves by an uplink: packets of instances get the gateway's address, or do not leave.

use aya_ebpf::bindings::__sk_buff;
use aya_log_ebpf::debug;
use natbpf_common::{
    contract::{counter::Counter, event::EventKind, uplinks::Uplink},
    flow::{
        Direction, FlowEntry, FlowKey, Rewrite, Status,
        life::{Life, RENEWAL},
        step,
    },
    time::Moment,
    wire::{
        headers::{Headers, Kind},
        packet::{End, Packet as _},
    },
};

use crate::{
    Handled, Outcome, clock,
    conntrack::{self, Seen},
    create::{self, Owner},
    entry::{Entry, timeout},
    event, fragment, host, icmp, notice, offload, parse, rules,
    skb::Skb,
    stranger, uplink,
};

#[inline(always)]
pub fn handle(skb: &mut Skb<'_>) -> Handled {
    // The program is attached to uplinks alone, so an unknown one is one in the making.
    let uplink = uplink::of(skb.interface()).ok_or(Counter::NotConfigured)?;
    let mut room = parse::Room::uninit();
    let Some(headers) = parse::headers(skb, uplink.link_header, &mut room)? else {
        return Ok(Outcome::Untouched);
    };
    let handled = decide(skb, uplink, headers);
    if let Err(reason) = handled {
        notice::emit(skb, headers, reason);
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
pub fn decide(skb: &mut Skb<'_>, uplink: &Uplink, headers: &mut Headers) -> Handled {
    let key = FlowKey::of(headers, Direction::Original);
    let own = uplink::has(uplink, headers.source);
    if headers.is(Kind::IcmpError) {
        return icmp::translate(skb, uplink, headers, Direction::Original);
    }
    // Replies never begin a flow; they answer one from outside.
    let reply = headers.is(Kind::IcmpReply);
    if !headers.is(Kind::Forward) && (own || !reply) {
        return if own {
            Ok(Outcome::Untouched)
        } else if headers.is(Kind::Fragment) {
            fragment::later(skb, headers, Direction::Original)
        } else {
            refuse(uplink, headers)
        };
    }
    let mut owner = Owner::Instance;
    let known = if own {
        match host::handle(skb, uplink, &key, headers.tcp_flags)? {
            Some(rewrite) => Known::Flow(rewrite),
            None => Known::Untouched,
        }
    } else {
        match Entry::find(&key) {
            Some(entry) => {
                owner = Owner::Again;
                known(skb.raw(), uplink, &key, entry, headers.tcp_flags)?
            }
            None => Known::Nothing,
        }
    };
    let rewrite = match known {
        Known::Flow(rewrite) => rewrite,
        Known::Untouched => Rewrite::NONE,
        Known::Nothing => match stranger::answer(skb.raw(), headers)? {
            Some(rewrite) => rewrite,
            None if skb.came_by() == uplink.interface && leads_back(headers) != 0 => Rewrite::NONE,
            None if reply => return refuse(uplink, headers),
            None => create::begin(skb, uplink, &key, headers.tcp_flags, owner)?.unwrap_or(Rewrite::NONE),
        },
    };
    if headers.is_fragment()
        && let Some(outcome) = fragment::first(skb, headers, Direction::Original, rewrite.address)?
    {
        return Ok(outcome);
    }
    if rewrite.is_none() {
        return Ok(Outcome::Untouched);
    }
    skb.translate(headers, End::Source, rewrite)?;
    if !own && uplink.link_header != 0 {
        offload::at_uplink_egress(skb, headers);
    }
    Ok(Outcome::Translated)
}

/// What the flow table says of a packet that leaves.
enum Known {
    Flow(Rewrite),
    /// It goes on as it is.
    Untouched,
    /// It has to get a translation: it begins a flow, or its flow has lost its own.
    Nothing,
}

/// Whether a packet answers a flow of an instance that the uplink itself leads to (a "one-armed" gateway). It was translated when it came in,
/// and goes on where rules without a source would take it for the first of another flow. Not inlined, for the stack.
#[inline(never)]
fn leads_back(headers: &Headers) -> u32 {
    let sent = FlowKey::of(headers, Direction::Reply).reversed();
    Entry::find(&sent).is_some_and(|entry| !entry.status().inbound()) as u32
}

/// What cannot be translated is dropped if its source is masqueraded, and none of our business if not.
#[inline(always)]
fn refuse(uplink: &Uplink, headers: &Headers) -> Handled {
    if rules::find(uplink.interface, headers.source, headers.destination).is_none() {
        return Ok(Outcome::Untouched);
    }
    Err(if headers.is(Kind::IcmpReply) {
        Counter::IcmpUnexpected
    } else if headers.is(Kind::IcmpOther) {
        Counter::IcmpOther
    } else {
        Counter::Malformed
    })
}

/// A packet whose flow is in the table, alive or not.
#[inline(always)]
fn known(
    skb: *mut __sk_buff,
    uplink: &Uplink,
    key: &FlowKey,
    entry: Entry,
    tcp_flags: u8,
) -> Result<Known, Counter> {
    let life = entry.life();
    let rewrite = entry.rewrite(key).ok_or(Counter::Busy)?;
    // What answers a stranger comes from the address that he asked, whichever way it leaves.
    let mut home = uplink;
    if entry.uplink() != uplink.interface {
        match uplink::of(entry.uplink()) {
            Some(other) if entry.status().inbound() => home = other,
            _ => return Ok(Known::Nothing),
        }
    }
    let mut untranslated = false;
    if !uplink::has(home, rewrite.address) {
        let traits = entry.traits();
        untranslated = traits & FlowEntry::UNTRANSLATED != 0;
        let lost = if untranslated {
            // To conntrack it may be the first packet of another conversation, which is masqueraded.
            is_over(life, entry.status())? || conntrack::seen(skb) == Seen::Original
        } else {
            traits & FlowEntry::FOREIGN_ADDRESS == 0
        };
        if lost {
            return Ok(Known::Nothing);
        }
    }
    match Life::from_word(life) {
        Life::Live(_) | Life::Dying(_) => {
            match touch(key, entry, life, rewrite, tcp_flags) {
                // Its time is over, and this may answer the stranger who begins again.
                Err(Counter::TcpNoFlow) if entry.status().inbound() => return Ok(Known::Nothing),
                touched => touched?,
            }
            Ok(if untranslated { Known::Untouched } else { Known::Flow(rewrite) })
        }
        Life::Killed(_) => Ok(Known::Nothing),
        Life::Busy | Life::Gone => Err(Counter::Busy),
    }
}

/// Whether a flow's time is over.
#[inline(always)]
fn is_over(life: u64, status: Status) -> Result<bool, Counter> {
    match Life::from_word(life) {
        Life::Live(seen) => Ok(Life::expired(clock::now().saturating_sub(seen), timeout(status))),
        Life::Dying(_) | Life::Killed(_) => Ok(true),
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
    let flow_age = entry.created().age(now);
    let step = step::next(status, key.protocol, Direction::Original, tcp_flags, flow_age);
    if step.status != status {
        entry.step_status(status, step.status);
        if let Some(reply) = Entry::find(&key.peer(rewrite)) {
            reply.step_status(reply.status(), step.status);
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
    let first = step::first(key.protocol, tcp_flags).ok_or(Counter::TcpNoFlow)?;
    let now = clock::now();
    if !entry.swap_life(life, Life::Live(now).to_word()) {
        // Another processor was faster, the reaper or one with the next packet.
        return if Life::age(entry.life(), now).is_some() { Ok(()) } else { Err(Counter::Busy) };
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
