//! What arrives at an uplink: replies get their instance's address; everything else is the host's.

use natbpf_common::{
    contract::{counter::DropReason, uplinks::Uplink},
    flow::{Direction, FlowKey, Rewrite},
    path::passage::Mark,
    wire::{
        headers::{Headers, Kind},
        packet::{End, Packet as _},
        segment::TcpFlags,
    },
};

use crate::{
    flow::{entry::Entry, pulse},
    kernel::clock,
    nat::{arp, fragment, icmp, inbound},
    packet::{
        parse,
        skb::Skb,
        verdict::{Handled, Outcome},
    },
    repeat,
    tables::{externals, uplink},
};

#[inline(always)]
pub fn translate(skb: &mut Skb<'_>) -> Handled {
    let uplink = uplink::of(skb.interface());
    if uplink.is_some_and(|uplink| uplink.link_header != 0) {
        let outcome = repeat::at_ingress(skb)?;
        if matches!(outcome, Outcome::Repeated) {
            return Ok(outcome);
        }
    } else {
        // The maker of the packet could write anything there.
        skb.set_mark(Mark::NONE);
    }
    let Some(uplink) = uplink else { return Ok(Outcome::Untouched) };
    if skb.is_for_others() {
        return Ok(Outcome::Untouched);
    }
    let mut room = parse::Room::uninit();
    match parse::headers(skb, uplink.link_header, &mut room) {
        Ok(Some(headers)) => translate_parsed(skb, uplink, headers),
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
        Ok(Some(headers)) => translate_parsed(skb, uplink, headers),
        _ => Ok(Outcome::Untouched),
    }
}

/// What becomes of an IPv4 packet.
#[inline(always)]
fn translate_parsed(skb: &mut Skb<'_>, uplink: &Uplink, headers: &mut Headers) -> Handled {
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
    let rewrite = match known(&key, headers.tcp_flags) {
        Known::Flow(rewrite) => rewrite,
        Known::Host => Rewrite::NONE,
        Known::Nothing => inbound::begin(skb, uplink, headers)?.unwrap_or(Rewrite::NONE),
    };
    if headers.is_fragment()
        && let Some(outcome) = fragment::first(skb, headers, Direction::Reply, rewrite.address)?
    {
        return Ok(outcome);
    }
    // The stack judges it. Rows M24, S17.
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
        Ok(Outcome::Untouched) if externals::is_foreign(uplink, headers.destination) => {
            Err(DropReason::Unsolicited)
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
fn known(key: &FlowKey, tcp_flags: TcpFlags) -> Known {
    // By whichever uplink it comes: the stack judges detours. Row M23.
    let Some(entry) = Entry::find(key) else { return Known::Nothing };
    let Some(rewrite) = entry.rewrite(key) else { return Known::Nothing };
    if !pulse::reply(key, entry, rewrite, tcp_flags, clock::now()) {
        return Known::Nothing;
    }
    if pulse::is_itself(key, rewrite) { Known::Host } else { Known::Flow(rewrite) }
}
