//! What arrives at an uplink: replies get their instance's address; everything else is the host's.

use natbpf_common::{
    Nanoseconds,
    contract::{counter::Counter, event::EventKind, uplinks::Uplink},
    flow::{
        Direction, FlowEntry, FlowKey, Rewrite, Status,
        life::{Life, RENEWAL},
        step,
    },
    wire::{
        headers::{Headers, Kind},
        packet::{End, Packet as _},
    },
};

use crate::{
    Handled, Outcome, arp, clock,
    entry::{Entry, Original, timeout},
    event, fragment, icmp, inbound,
    offload::{self, Arrival},
    parse,
    skb::Skb,
    uplink,
};

#[inline(always)]
pub fn handle(skb: &mut Skb<'_>) -> Handled {
    // Whoever made the packet could write there what he liked.
    skb.set_tc_index(0);
    if skb.is_for_others() {
        return Ok(Outcome::Untouched);
    }
    let Some(uplink) = uplink::of(skb.interface()) else { return Ok(Outcome::Untouched) };
    let mut arrival = Arrival::Slow;
    if uplink.link_header != 0 {
        arrival = offload::at_uplink_ingress(skb)?;
        if arrival == Arrival::Repeated {
            return Ok(Outcome::Repeated);
        }
    }
    let mut room = parse::Room::uninit();
    match parse::headers(skb, uplink.link_header, &mut room) {
        Ok(Some(headers)) => decide(skb, uplink, headers, arrival),
        Ok(None) if arp::answer(skb, uplink) => Ok(Outcome::Redirected),
        _ => Ok(Outcome::Untouched),
    }
}

/// An IPv4 packet that is turned round at the uplink: it comes from no router, and nothing is repeated.
#[inline(always)]
pub fn translate_one(skb: &mut Skb<'_>) -> Handled {
    let Some(uplink) = uplink::of(skb.interface()) else { return Ok(Outcome::Untouched) };
    let mut room = parse::Room::uninit();
    match parse::headers(skb, uplink.link_header, &mut room) {
        Ok(Some(headers)) => decide(skb, uplink, headers, Arrival::Slow),
        _ => Ok(Outcome::Untouched),
    }
}

/// What becomes of an IPv4 packet.
#[inline(always)]
fn decide(skb: &mut Skb<'_>, uplink: &Uplink, headers: &mut Headers, arrival: Arrival) -> Handled {
    if headers.is(Kind::IcmpError) {
        return claimed(uplink, headers, icmp::translate(skb, uplink, headers, Direction::Reply));
    }
    if headers.is(Kind::Fragment) {
        return fragment::later(skb, headers, Direction::Reply);
    }
    if !headers.is(Kind::Forward) && !headers.is(Kind::IcmpReply) {
        return claimed(uplink, headers, Ok(Outcome::Untouched));
    }
    let key = FlowKey::of(headers, Direction::Reply);
    let known = match arrival {
        Arrival::Stranger => Known::Nothing,
        _ => known(&key, headers.tcp_flags),
    };
    let rewrite = match known {
        Known::Flow(rewrite) => rewrite,
        Known::Host => Rewrite::NONE,
        Known::Nothing => inbound::begin(skb, uplink, headers)?.unwrap_or(Rewrite::NONE),
    };
    if headers.is_fragment()
        && let Some(outcome) = fragment::first(skb, headers, Direction::Reply, rewrite.address)?
    {
        return Ok(outcome);
    }
    if rewrite.is_none() {
        return Ok(Outcome::Untouched);
    }
    skb.translate(headers, End::Destination, rewrite)?;
    Ok(Outcome::Translated)
}

/// What nobody inside wants is the host's; but not if the address is not the host's.
#[inline(always)]
fn claimed(uplink: &Uplink, headers: &Headers, handled: Handled) -> Handled {
    match handled {
        Ok(Outcome::Untouched) if inbound::is_foreign(uplink, headers.destination) => {
            Err(Counter::Unsolicited)
        }
        handled => handled,
    }
}

/// What the flow table says of a packet from outside.
enum Known {
    /// It belongs to a flow.
    Flow(Rewrite),
    /// It is the host's, or toward an instance's own address: nothing is to be translated.
    Host,
    Nothing,
}

#[inline(always)]
fn known(key: &FlowKey, tcp_flags: u8) -> Known {
    let Some(entry) = Entry::find(key) else { return Known::Nothing };
    let Some(rewrite) = entry.rewrite(key) else { return Known::Nothing };
    if !touch(key, entry, rewrite, tcp_flags, clock::now()) {
        return Known::Nothing;
    }
    if is_itself(key, rewrite) { Known::Host } else { Known::Flow(rewrite) }
}

/// A reservation of the host's own flow, and a flow toward an instance's own address, translate nothing.
#[inline(always)]
fn is_itself(key: &FlowKey, rewrite: Rewrite) -> bool {
    key.destination == rewrite.address && key.destination_port == rewrite.port
}

/// Notes a packet of the reply direction in its flow. False: the flow is over.
#[inline(always)]
pub fn touch(key: &FlowKey, entry: Entry, rewrite: Rewrite, tcp_flags: u8, now: Nanoseconds) -> bool {
    goes_on(key, entry, tcp_flags, now) || confirm(key, entry, rewrite, tcp_flags) != 0
}

/// Whether a packet changes nothing about its flow, which was asked less than a second ago.
#[inline(always)]
pub fn goes_on(key: &FlowKey, entry: Entry, tcp_flags: u8, now: Nanoseconds) -> bool {
    let status = entry.status();
    Life::age(entry.life(), now).is_some_and(|age| age < RENEWAL)
        && step(key, entry, status, tcp_flags, now).status == status
}

/// What the packet does to the flow's state.
#[inline(always)]
fn step(key: &FlowKey, entry: Entry, status: Status, tcp_flags: u8, now: Nanoseconds) -> step::Step {
    let flow_age = entry.created().age(now);
    step::next(status, key.protocol, Direction::Reply, tcp_flags, flow_age)
}

/// Asks the entry of the original direction whether the flow lives, and renews and steps both. 0: it is over. Not inlined,
/// for its stack.
#[inline(never)]
fn confirm(key: &FlowKey, entry: Entry, rewrite: Rewrite, tcp_flags: u8) -> u32 {
    let now = clock::now();
    let renewed = Life::Live(now).to_word();
    let (life, status) = (entry.life(), entry.status());
    let Some(age) = Life::age(life, now) else { return 0 };
    if status.host() && is_itself(key, rewrite) {
        // The host's own: there is no entry of the original direction.
        return if Life::expired(age, timeout(status)) {
            0
        } else {
            entry.swap_life(life, renewed);
            1
        };
    }
    let step = step(key, entry, status, tcp_flags, now);
    let Some(original) = Original::of(key, rewrite, now) else { return 0 };
    if step.status != status {
        entry.step_status(status, step.status);
        original.entry.step_status(original.entry.status(), step.status);
        event::emit(EventKind::Update, &original.key, original.rewrite, step.status, original.entry.uplink());
    }
    if step.renews && entry.traits() & FlowEntry::OUTBOUND_REFRESH == 0 {
        original.entry.swap_life(original.life, renewed);
    }
    entry.swap_life(life, renewed);
    1
}
