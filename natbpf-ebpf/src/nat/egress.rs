//! What leaves by an uplink: packets of instances get the gateway's address, or do not leave.

use aya_ebpf::bindings::__sk_buff;
use aya_log_ebpf::debug;
use natbpf_common::{
    contract::{counter::DropReason, uplinks::Uplink},
    flow::{Direction, FlowKey, Rewrite, Traits, life::Life},
    wire::{
        headers::{Headers, Kind},
        packet::{End, Packet as _},
        segment::TcpFlags,
    },
};

use crate::{
    flow::{
        create::{self, Owner},
        entry::Entry,
        pulse,
    },
    nat::{fragment, host, icmp, stranger},
    packet::{
        conntrack::{self, Seen},
        parse,
        skb::Skb,
        verdict::{Handled, Outcome},
    },
    tables::{rules, uplink},
    tell::notice,
};

#[inline(always)]
pub fn translate(skb: &mut Skb<'_>) -> Handled {
    // The program is attached to uplinks alone, so an unknown one is one in the making.
    let uplink = uplink::of(skb.interface()).ok_or(DropReason::NotConfigured)?;
    let mut room = parse::Room::uninit();
    let Some(headers) = parse::headers(skb, uplink.link_header, &mut room)? else {
        return Ok(Outcome::Untouched);
    };
    let handled = translate_parsed(skb, uplink, headers);
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

/// Logs a drop. Loaded only for `natbpf -vv`: the level is a constant to the verifier, which leaves dead code
/// out. Not inlined, for its stack.
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
pub fn translate_parsed(skb: &mut Skb<'_>, uplink: &Uplink, headers: &mut Headers) -> Handled {
    let key = FlowKey::of(headers, Direction::Original);
    // The host's other addresses are masqueraded; what iptables has masqueraded is not. Rows M14, M25.
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
        match host::keep_apart(skb, uplink, &key, headers.tcp_flags)? {
            Some(rewrite) => Known::Flow(rewrite),
            None => Known::Untouched,
        }
    } else {
        match Entry::find(&key) {
            // No rule is asked any more. Row M11.
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

/// Whether a packet answers a flow of an instance that the uplink itself leads to (a "one-armed" gateway). It
/// was translated when it came in, and goes on where rules without a source would take it for the first of
/// another flow. Not inlined, for the stack.
#[inline(never)]
fn leads_back(headers: &Headers) -> u32 {
    let sent = FlowKey::of(headers, Direction::Reply).reversed();
    Entry::find(&sent).is_some_and(|entry| !entry.status().inbound()) as u32
}

/// What cannot be translated is dropped if its source is masqueraded, and none of our business if not. Rows M13, S01.
#[inline(always)]
fn refuse(uplink: &Uplink, headers: &Headers) -> Handled {
    if rules::find(uplink.interface, headers.source, headers.destination).is_none() {
        return Ok(Outcome::Untouched);
    }
    Err(if headers.is(Kind::IcmpReply) {
        DropReason::IcmpUnexpected
    } else if headers.is(Kind::IcmpOther) {
        DropReason::IcmpOther
    } else {
        DropReason::Malformed
    })
}

/// A packet whose flow is in the table, alive or not.
#[inline(always)]
fn known(
    skb: *mut __sk_buff,
    uplink: &Uplink,
    key: &FlowKey,
    entry: Entry,
    tcp_flags: TcpFlags,
) -> Result<Known, DropReason> {
    let life = entry.life();
    let rewrite = entry.rewrite(key).ok_or(DropReason::Busy)?;
    // What answers a stranger comes from the address that he asked, whichever way it leaves.
    let mut home = uplink;
    // Row M10.
    if entry.uplink() != uplink.interface {
        match uplink::of(entry.uplink()) {
            Some(other) if entry.status().inbound() => home = other,
            _ => return Ok(Known::Nothing),
        }
    }
    let mut untranslated = false;
    // Row M09.
    if !uplink::has(home, rewrite.address) {
        let traits = entry.traits();
        untranslated = traits.intersects(Traits::UNTRANSLATED);
        let lost = if untranslated {
            // To conntrack it may be the first packet of another conversation, which is masqueraded.
            pulse::is_over(life, entry.status())? || conntrack::seen(skb) == Seen::Original
        } else {
            !traits.intersects(Traits::FOREIGN_ADDRESS)
        };
        if lost {
            return Ok(Known::Nothing);
        }
    }
    match Life::from_word(life) {
        Life::Live(_) | Life::Dying(_) => {
            match pulse::original(key, entry, life, rewrite, tcp_flags) {
                // Its time is over, and this may answer the stranger who begins again.
                Err(DropReason::TcpNoFlow) if entry.status().inbound() => return Ok(Known::Nothing),
                touched => touched?,
            }
            Ok(if untranslated { Known::Untouched } else { Known::Flow(rewrite) })
        }
        Life::Killed(_) => Ok(Known::Nothing),
        Life::Busy | Life::Gone => Err(DropReason::Busy),
    }
}
