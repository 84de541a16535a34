//! Hairpinning: from one inside host to another by an external address (RFC 4787 REQ-9).
//!
//! The kernel would take such a packet for its own, since the address is local. At the inside interface it is
//! turned off instead, to the uplink: there it is translated as if it left, then as if it came, and is sent
//! inside. So both ends see what they would see of a stranger, by the same code and under the same rules, and
//! nothing ever is on the wire outside.

use aya_ebpf::{
    bindings::__sk_buff, btf_maps::ProgramArray, helpers::generated::bpf_redirect_neigh, macros::btf_map,
};
use natbpf_common::{
    IfIndex,
    contract::{
        counter::{Counter, DropReason},
        forwards::ExternalKey,
    },
    flow::{Direction, FlowKey},
    path::handover::Purpose,
    wire::{
        checksum,
        headers::{Headers, Kind},
        packet::Packet,
        quote::ICMP_HEADER,
    },
};
use network_types::eth::EthHdr;

use crate::{
    flow::entry::Entry,
    kernel::{global::global, route},
    memory::{
        maps::EXTERNALS,
        shared::{Lookup as _, cell},
    },
    nat::{fragment, ingress, stranger, target},
    packet::{
        arriving::Arriving as _,
        handover, parse,
        skb::Skb,
        verdict::{Handled, Outcome},
    },
    tables::uplink,
    tell::count,
};

/// Offset of the time to live in an IPv4 header; the protocol and the checksum follow.
const TIME_TO_LIVE: u32 = 8;
const CHECKSUM: u32 = 10;

/// At the inside interface, which has Ethernet: user space attaches to no other.
#[inline(always)]
pub fn at_inside_ingress(skb: &mut Skb<'_>) -> Handled {
    if skb.is_for_others() {
        return Ok(Outcome::Untouched);
    }
    let mut room = parse::Room::uninit();
    let Ok(Some(headers)) = parse::headers(skb, EthHdr::LEN as u32, &mut room) else {
        return Ok(Outcome::Untouched);
    };
    // At the uplink it is known again by where its addresses are, and no tag must come out there.
    if headers.network != EthHdr::LEN as u32 || skb.vlan() != 0 {
        return Ok(Outcome::Untouched);
    }
    let key = ExternalKey { uplink: IfIndex::NONE, address: headers.destination };
    let Some(external) = EXTERNALS.shared(&key) else { return Ok(Outcome::Untouched) };
    let uplink = cell!(external, uplink).load();
    // A source that is external itself is forged, or the host's: the kernel knows what to do (RFC 1812,
    // section 5.3.8). Row S18.
    let source = ExternalKey { uplink: IfIndex::NONE, address: headers.source };
    if EXTERNALS.shared(&source).is_some() || !leads_inside(skb, headers, uplink) {
        return Ok(Outcome::Untouched);
    }
    // Rows N03, T14, U17.
    handover::redirect(uplink, Purpose::Turning, headers.source, headers.destination);
    Ok(Outcome::Redirected)
}

/// Whether a packet to an external address is for an instance; else it is for the host.
#[inline(always)]
fn leads_inside(skb: &mut Skb<'_>, headers: &Headers, uplink: IfIndex) -> bool {
    // Row I18.
    if headers.is(Kind::IcmpError) {
        let length = headers.payload.wrapping_sub(ICMP_HEADER);
        return parse::quote(skb, headers.transport + ICMP_HEADER, length).is_some_and(|quote| {
            quote.source == headers.destination && belongs(&FlowKey::answering(&quote, Direction::Original))
        });
    }
    if headers.is(Kind::Fragment) {
        return fragment::is_known(headers, uplink);
    }
    if !headers.is(Kind::Forward) && !headers.is(Kind::IcmpReply) {
        return false;
    }
    if belongs(&FlowKey::of(headers, Direction::Original)) {
        return true;
    }
    // To who is asked for, it will come from an external address.
    let stranger = FlowKey { source: headers.destination, ..FlowKey::of(headers, Direction::Reply) };
    // Row I19.
    headers.is(Kind::Forward) && target::leads_inside(skb.raw(), uplink, &stranger)
}

/// Whether a packet from inside belongs to a flow, or answers a stranger.
#[inline(always)]
fn belongs(key: &FlowKey) -> bool {
    Entry::find(key).is_some() || stranger::is_answer(key)
}

/// The second half of a packet's way round, a program of its own: both halves together would be too much for one.
#[btf_map]
static TURN: ProgramArray<1> = ProgramArray::new();

/// At the uplink's egress, translated as if it left: now as if it came. Rows T14, U18.
#[inline(always)]
pub fn at_egress(skb: &Skb<'_>, handled: Handled) -> Handled {
    handover::forget();
    match handled {
        Ok(Outcome::Translated) => {
            count::traffic(Counter::EgressPackets, Counter::EgressBytes, skb.length());
            // SAFETY: nothing is left to be done here.
            unsafe { TURN.tail_call(skb, 0) };
            // It did not come to that: there is no such program.
            Err(DropReason::Hairpin)
        }
        Ok(Outcome::Replayed) => handled,
        // It must not leave by the uplink.
        Ok(_) => Err(DropReason::Hairpin),
        dropped => dropped,
    }
}

/// Translated as if it came: to the inside.
#[inline(always)]
pub fn turn(skb: &mut Skb<'_>) -> Handled {
    match ingress::translate_one(skb) {
        Ok(Outcome::Translated) => {
            if send_inside(skb.raw()) {
                Ok(Outcome::Redirected)
            } else {
                Err(DropReason::Hairpin)
            }
        }
        Ok(Outcome::Replayed) => Ok(Outcome::Replayed),
        Ok(_) => Err(DropReason::Hairpin),
        dropped => dropped,
    }
}

global!(fn send_inside(skb: *mut __sk_buff) -> bool = send_inside_inner);

/// Routes a packet as the kernel would: takes one from its time to live, finds the interface, and leaves the
/// neighbour to the kernel. True: it is on its way. Row F12.
#[inline(always)]
fn send_inside_inner(skb: *mut __sk_buff) -> bool {
    let mut skb = Skb::of(skb);
    let Some(uplink) = uplink::of(skb.interface()) else { return false };
    let mut room = parse::Room::uninit();
    let Ok(Some(headers)) = parse::headers(&mut skb, uplink.link_header, &mut room) else { return false };
    let Some(word) = skb.load::<u16>(headers.network + TIME_TO_LIVE) else { return false };
    let [time_to_live, protocol] = word.to_ne_bytes();
    // Rows F02, F03.
    if time_to_live <= 1 {
        return false;
    }
    let new = u16::from_ne_bytes([time_to_live - 1, protocol]);
    let sum = checksum::replace_half(headers.checksum, word, new);
    // The changes of the two words cancel in the checksum of the whole packet.
    let [a, b] = new.to_ne_bytes();
    let [c, d] = sum.to_ne_bytes();
    if skb.store(headers.network + TIME_TO_LIVE, &[a, b, c, d]).is_err() {
        return false;
    }
    let interface = route::inside(skb.raw(), skb.interface(), headers.source, headers.destination);
    if interface.is_none() {
        return false;
    }
    // SAFETY: takes no pointers that matter: without parameters the kernel looks the neighbour up.
    unsafe { bpf_redirect_neigh(interface.number(), core::ptr::null_mut(), 0, 0) };
    true
}

const _: () = assert!(CHECKSUM == TIME_TO_LIVE + 2);
