//! Fragments. The first one of a datagram has the ports and is handled as any packet; what was decided for it
//! is remembered, and the others get the same address. Those that come before it are kept, and sent round
//! again when it has come.
//!
//! Global functions, so that the verifier follows each once (see `parse`), and the path of packets that are
//! whole costs one branch.

mod datagram;
mod keep;
mod replay;

use aya_ebpf::bindings::__sk_buff;
use natbpf_common::{
    Address, IfIndex,
    contract::{
        counter::{Counter, DropReason},
        forwards::{ExternalFlags, ExternalKey},
        uplinks::UplinkFlags,
    },
    flow::Direction,
    nat::fragment::{DatagramKey, Decision, Fit, Piece, Verdict},
    wire::{checksum, headers::Headers, packet::Packet as _},
};

use crate::{
    kernel::global::global,
    memory::{
        maps::EXTERNALS,
        shared::{Lookup as _, cell},
    },
    nat::fragment::{datagram::Known, keep::Kept},
    packet::{
        skb::Skb,
        verdict::{Handled, Outcome},
    },
    tables::{rules, uplink},
    tell::count,
};

/// Offset of the identification in an IPv4 header.
const IDENTIFICATION: u32 = 4;

/// The first fragment of a datagram, whose packet gets this address; unspecified: none. `None`: it goes on as
/// any packet would; its identification may have been changed.
#[inline(always)]
pub fn first(
    skb: &mut Skb<'_>,
    headers: &mut Headers,
    direction: Direction,
    address: Address,
) -> Result<Option<Outcome>, DropReason> {
    let direction = direction as u32;
    // Asked for anew, so that nothing has to be kept for it on the path of all packets, whose stack is short.
    let interface = skb.interface();
    let kept = first_fragment(skb.raw(), headers, interface, direction, address.to_wire())?;
    if kept == 0 {
        return Ok(None);
    }
    // From here and not from there, for the stack.
    if replay::replay_kept(skb.raw(), headers, skb.interface(), direction, kept) {
        Ok(Some(Outcome::Replayed))
    } else {
        Err(DropReason::FragmentLost)
    }
}

/// A fragment that is not the first.
#[inline(always)]
pub fn later(skb: &mut Skb<'_>, headers: &Headers, direction: Direction) -> Handled {
    later_fragment(skb.raw(), headers, skb.interface(), direction as u32).map(Outcome::translated)
}

/// Whether the first fragment of a datagram has left by an uplink, translated.
#[inline(always)]
pub fn is_known(headers: &Headers, interface: IfIndex) -> bool {
    let key = DatagramKey::of(headers, interface, Direction::Original as u32);
    let verdict = Known::find(&key).and_then(Known::verdict);
    verdict.is_some_and(|verdict| verdict.decision != Decision::Open)
}

/// Which fragments of datagrams that nothing is known of may concern an instance.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Concern {
    None,
    /// It may be the host's own. The host gets it, and a copy is kept.
    Shared,
    /// It must not go on as it is.
    Held,
}

global!(fn first_fragment(skb: *mut __sk_buff, headers: &mut Headers, interface: IfIndex, direction: u32, address: u32) -> Result<u32, DropReason> = first_fragment_inner);

/// `address` is unspecified: it is not translated. How many that were kept are to be sent round with it; 0: it goes on.
#[inline(always)]
fn first_fragment_inner(
    skb: *mut __sk_buff,
    headers: &mut Headers,
    interface: IfIndex,
    direction: u32,
    address: u32,
) -> Result<u32, DropReason> {
    let key = DatagramKey::of(headers, interface, direction);
    // Before anything is looked up: after that the verifier would follow it for each path that leads there.
    let piece = Piece::of(headers);
    // The host's own leave as they are, but perhaps for the port, which the first one alone has.
    if key.leaves() && uplink::of(interface).is_none_or(|uplink| uplink::has(uplink, headers.source)) {
        return Ok(0);
    }
    let address = Address::from_wire(address);
    let translated = !address.is_unspecified();
    let Some(piece) = piece else {
        return if translated { Err(DropReason::Fragment) } else { Ok(0) };
    };
    if !translated && concern(headers, interface, &key) == Concern::None {
        return Ok(0);
    }
    // Without memory for it the first one goes on, and the others will be lost.
    let Some(known) = Known::decide(&key, address) else { return Ok(0) };
    let Some(verdict) = known.verdict() else { return Ok(0) };
    if verdict.decision == Decision::Drop {
        return Err(DropReason::Fragment);
    }
    let kept = known.close();
    if kept > 0 && (translated || key.leaves()) {
        return Ok(kept);
    }
    if !passes(&key, known, verdict, piece) {
        return Err(DropReason::Fragment);
    }
    if translated && key.leaves() {
        let new = verdict.identification;
        if Skb::of(skb).store(headers.network + IDENTIFICATION, &new).is_err() {
            return Err(DropReason::WriteFailed);
        }
        headers.checksum = checksum::replace_half(headers.checksum, headers.identification, new);
        headers.identification = new;
    }
    Ok(0)
}

global!(fn later_fragment(skb: *mut __sk_buff, headers: &Headers, interface: IfIndex, direction: u32) -> Result<bool, DropReason> = later_fragment_inner);

#[inline(always)]
fn later_fragment_inner(
    skb: *mut __sk_buff,
    headers: &Headers,
    interface: IfIndex,
    direction: u32,
) -> Result<bool, DropReason> {
    let key = DatagramKey::of(headers, interface, direction);
    let piece = Piece::of(headers);
    let mut known = Known::find(&key);
    if known.and_then(Known::verdict).is_none_or(|verdict| verdict.decision == Decision::Open) {
        let concern = concern(headers, interface, &key);
        let lost = |reason: DropReason| if concern == Concern::Held { Err(reason) } else { Ok(false) };
        if concern == Concern::None {
            return Ok(false);
        }
        if piece.is_none() {
            return lost(DropReason::Fragment);
        }
        if known.is_none() {
            known = Known::open(&key);
        }
        let Some(known) = known else { return lost(DropReason::FragmentLost) };
        match keep::keep(skb, headers, &key, known, concern == Concern::Held) {
            // Row S25.
            Kept::Yes if concern == Concern::Held => return Err(DropReason::FragmentKept),
            Kept::Yes => {
                count::add(Counter::FragmentKept);
                return Ok(false);
            }
            Kept::No => return lost(DropReason::FragmentLost),
            Kept::Decided => {}
        }
    }
    let Some(known) = known else { return Err(DropReason::FragmentLost) };
    let Some(verdict) = known.verdict() else { return Err(DropReason::FragmentLost) };
    let Some(piece) = piece else {
        return if verdict.decision == Decision::Pass { Ok(false) } else { Err(DropReason::Fragment) };
    };
    if verdict.decision == Decision::Drop || !passes(&key, known, verdict, piece) {
        return Err(DropReason::Fragment);
    }
    if verdict.decision == Decision::Pass {
        return Ok(false);
    }
    write_addresses(&mut Skb::of(skb), headers, verdict, key.leaves())?;
    Ok(true)
}

/// Whether a fragment of a datagram that nothing is known of may concern an instance.
#[inline(always)]
fn concern(headers: &Headers, interface: IfIndex, key: &DatagramKey) -> Concern {
    let Some(uplink) = uplink::of(interface) else { return Concern::None };
    if key.leaves() {
        // Who answers flows from outside may be masqueraded by no rule.
        let concerned = uplink.has(UplinkFlags::SERVES)
            || rules::find(interface, headers.source, headers.destination).is_some();
        return if concerned { Concern::Held } else { Concern::None };
    }
    if uplink::has(uplink, headers.destination) {
        return Concern::Shared;
    }
    match EXTERNALS.shared(&ExternalKey { uplink: interface, address: headers.destination }) {
        Some(external) if cell!(external, flags).load().intersects(ExternalFlags::ANSWER) => Concern::Held,
        Some(_) => Concern::Shared,
        None => Concern::None,
    }
}

/// Enters a fragment among those that have passed. False: it must not.
#[inline(always)]
fn passes(key: &DatagramKey, known: Known, verdict: Verdict, piece: Piece) -> bool {
    let fit = known.enter(piece);
    if fit == Fit::New {
        if known.add(piece) {
            datagram::forget(key);
        }
        return true;
    }
    if verdict.decision == Decision::Pass {
        // The host that gets it looks for itself.
        return true;
    }
    // Row S23.
    if fit == Fit::Overlap {
        known.spoil();
    }
    false
}

/// Writes the address and, where it leaves, the identification. There is no transport header whose checksum
/// would have to do with it. Rows F21, U26.
#[inline(always)]
fn write_addresses(
    skb: &mut Skb<'_>,
    headers: &Headers,
    verdict: Verdict,
    leaves: bool,
) -> Result<(), DropReason> {
    if !leaves {
        let sum = checksum::replace_address(headers.checksum, headers.destination, verdict.address);
        return skb.store_network(headers.network, sum, headers.source, verdict.address);
    }
    let new = verdict.identification;
    skb.store(headers.network + IDENTIFICATION, &new).map_err(|()| DropReason::WriteFailed)?;
    let sum = checksum::replace_half(headers.checksum, headers.identification, new);
    let sum = checksum::replace_address(sum, headers.source, verdict.address);
    skb.store_network(headers.network, sum, verdict.address, headers.destination)
}
