//! A packet leaves that was seen where it came in: what was done to it is noted as the path of its tuple.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_get_prandom_u32};
use natbpf_common::{
    IfIndex, Nanoseconds, Timestamp,
    contract::{counter::Counter, edges::EdgeFlags},
    path::{
        cell::{Exit, Path, PathFlags, age, interval_at, spread},
        family::{self, TAGS},
        frame::is_group,
        passage::{can_be_translated, slot_of},
        plain,
        reserved::{self, Bit, Kind},
        set::{CANDIDATES, Set, WAYS, candidate, candidate_tag, has_tag, home_of, set_of, tag_of},
    },
    wire::{
        family::{V4, V6},
        packet::Packet as _,
    },
};

use super::{
    enter::contents,
    tables::{Draft, Place, Present, Tables, cell_of, present},
};
use crate::{
    kernel::{branchless, clock, global::global},
    memory::{
        maps::EDGES,
        shared::{Lookup as _, Shared, cell},
    },
    packet::{arriving::Arriving as _, skb::Skb},
    tell::count,
};

global!(fn cross4(skb: *mut __sk_buff, slot: u32) -> bool = cross::<V4>);
global!(fn cross6(skb: *mut __sk_buff, slot: u32) -> bool = cross::<V6>);
global!(fn reserved4() -> bool = is_reserved::<V4>);
global!(fn reserved6() -> bool = is_reserved::<V6>);
global!(fn note4() -> bool = note::<V4>);
global!(fn note6() -> bool = note::<V6>);
global!(fn store4() -> () = store::<V4>);
global!(fn store6() -> () = store::<V6>);

/// A packet of IPv4 leaves that has a slot. In functions that come one after the other, for the stack.
#[inline(always)]
pub fn leave4(skb: &Skb<'_>, slot: u32) {
    if cross4(skb.raw(), slot) && !reserved4() && note4() {
        store4();
    }
}

/// As [`leave4`], of IPv6.
#[inline(always)]
pub fn leave6(skb: &Skb<'_>, slot: u32) {
    if cross6(skb.raw(), slot) && !reserved6() && note6() {
        store6();
    }
}

/// Whether the packet of a slot has crossed the host in a way that can be a path; then the draft says which.
#[inline(always)]
fn cross<F: Tables>(skb: *mut __sk_buff, slot: u32) -> bool {
    let Some(present) = &present() else { return false };
    let Some(draft) = F::draft() else { return false };
    match draw_up::<F>(&mut Skb::of(skb), slot, present, draft) {
        Ok(()) => true,
        Err(counter) => {
            count::add(counter);
            false
        }
    }
}

/// Draws up what has become of the packet of a slot. An error: why that can be no path.
#[inline(always)]
fn draw_up<F: Tables>(
    skb: &mut Skb<'_>,
    slot: u32,
    present: &Present,
    draft: &mut Draft<F>,
) -> Result<(), Counter> {
    let Draft { path, claim: drawn, from, .. } = draft;
    let passage = F::passage(slot).ok_or(Counter::CrossingsLost)?;
    let claim = cell!(passage, claim).load();
    let headers = F::plain(skb).ok_or(Counter::CrossingsChanged)?;
    path.key = cell!(passage, key).load();
    path.frame = cell!(passage, frame).load();
    path.epoch = cell!(passage, epoch).load();
    // A packet of another slot, or of a slot that has another packet by now.
    let before = cell!(passage, contents).load();
    path.hops = before.hops(&contents(skb, &headers)).ok_or(Counter::CrossingsChanged)?;
    *from = cell!(passage, from).load() as u64;
    let left = cell!(passage, left).add(1);
    if claim == 0 || cell!(passage, claim).load() != claim {
        return Err(Counter::CrossingsLost);
    }
    // A bridge floods it, say. Row B03.
    if left != 0 {
        forget(&Place::of(&path.key, &present.repeat.keys), present);
        return Err(Counter::CrossingsManifold);
    }
    if path.epoch != present.epoch {
        return Err(Counter::CrossingsStale);
    }
    // Nothing where it was bridged. Row B25.
    path.change = family::change(&path.key, &headers);
    let vlan = skb.vlan();
    let size = plain::size(&headers, skb.gso_size());
    let ethernet = skb.ethernet().ok_or(Counter::CrossingsChanged)?;
    let is_known = path.change.is_none(&path.key) || can_be_translated(&headers);
    // Row B20.
    let known_tag = vlan == 0 || TAGS.contains(&(vlan & 0xffff_0000));
    if !is_known || !known_tag || size > u16::MAX as u32 || is_group(ethernet[0]) {
        return Err(Counter::CrossingsChanged);
    }
    // The edge that it came by only if the kernel has sent it back there. Row B04.
    path.exit = Exit { edge: skb.interface(), ethernet, vlan, mark: skb.fwmark(), priority: skb.priority() };
    path.size = size as u16;
    *drawn = claim;
    Ok(())
}

/// Whether rules of the host have to see every packet of what is drawn up. Rules may ask for what it was before it was
/// translated, and for what it is now.
#[inline(always)]
fn is_reserved<F: Tables>() -> bool {
    let Some(Draft { path: Path { key, change, .. }, .. }) = F::draft() else { return false };
    let kind = Kind::from_bits_retain(F::reserved(0));
    if kind.is_empty() {
        return false;
    }
    let bit = |bit: Bit| F::reserved(bit.word) & bit.mask;
    let mut found = (kind & Kind::ALL).bits() | bit(reserved::protocol(key.protocol));
    if let Some(is_tcp) = reserved::has_ports(key.protocol) {
        for port in [key.source_port, key.destination_port, change.source_port, change.destination_port] {
            found |= bit(reserved::port(is_tcp, port.number()));
        }
    }
    for address in [key.source, key.destination, change.source, change.destination] {
        found |= bit(reserved::address(F::folded(address)));
    }
    if found != 0 {
        count::add(Counter::CrossingsReserved);
    }
    found != 0
}

/// By what its ends are.
#[inline(always)]
fn flags<F: Tables>(draft: &Path<F>) -> PathFlags {
    let of = |edge: &IfIndex| EDGES.shared(edge).map_or(EdgeFlags::empty(), |edge| cell!(edge, flags).load());
    let (from, to) = (of(&draft.key.edge), of(&draft.exit.edge));
    let mut flags = PathFlags::empty();
    flags.set(PathFlags::PEER, to.intersects(EdgeFlags::PEER));
    flags.set(PathFlags::OUT, to.intersects(EdgeFlags::UPLINK));
    flags.set(PathFlags::IN, from.intersects(EdgeFlags::UPLINK));
    flags
}

/// See [`Set::candidates`].
const NO_CANDIDATE: u64 = 0;

/// A packet has left twice: what it left by first is no path.
#[inline(always)]
fn forget<F: Tables>(place: &Place<'_, F>, present: &Present) {
    if let Some(set) = place.set(F::sets(present)) {
        let tag = candidate_tag(place.hash);
        for way in 0..CANDIDATES {
            let candidate = cell!(set, candidates[way]);
            if has_tag(candidate.load(), tag) {
                candidate.store(NO_CANDIDATE);
            }
        }
    }
    if let Some(path) = place.find(F::sets(present)) {
        cell!(path, until).store(Path::<F>::NEVER);
    }
}

/// Whether what is drawn up is to be stored as a path: it is none yet, and has been confirmed.
#[inline(always)]
fn note<F: Tables>() -> bool {
    let Some(present) = &present() else { return false };
    let Some(Draft { path: draft, claim, hash, .. }) = F::draft() else { return false };
    let place = &Place::of(&draft.key, &present.repeat.keys);
    *hash = place.hash;
    if let Some(path) = place.find(F::sets(present)) {
        let now = clock::now();
        if is_same(path, draft) {
            // It still goes that way: the kernel has said so just now. Row F11.
            renew(path, draft, present, now);
            return false;
        }
        let held = Path::<F>::holds(cell!(path, until).load(), cell!(path, epoch).load(), now, present.epoch);
        if held && cell!(path, frame).load() != draft.frame {
            // It is for other frames, and right for them. Of two kinds that come by turns one has a path.
            return false;
        }
        // It goes another way now.
        cell!(path, until).store(Path::<F>::NEVER);
    }
    is_confirmed(draft, place, *claim, present)
}

/// Whether a path is that which a packet has taken.
#[inline(always)]
fn is_same<F: Tables>(path: Shared<Path<F>>, draft: &Path<F>) -> bool {
    cell!(path, frame).load() == draft.frame
        && cell!(path, hops).load() == draft.hops
        && cell!(path, change).is(&draft.change)
        && cell!(path, exit).is(&draft.exit)
}

#[inline(always)]
fn renew<F: Tables>(path: Shared<Path<F>>, draft: &Path<F>, present: &Present, now: Timestamp) {
    let held = Path::<F>::holds(cell!(path, until).load(), cell!(path, epoch).load(), now, present.epoch);
    // Longer packets get through, too; what was longest under another epoch says nothing.
    if !held || draft.size > cell!(path, size).load() {
        cell!(path, size).store(draft.size);
    }
    let age = age(cell!(path, since).load(), cell!(path, until).load(), now);
    if age.number() == 0 {
        cell!(path, since).store(now.tick());
    }
    let until = until(draft, age, present, now);
    F::run_until(&draft.key, until);
    // An edge may take packets in another way by now.
    cell!(path, flags).store(flags(draft));
    cell!(path, epoch).store(present.epoch);
    cell!(path, until).store(until);
    count::add(Counter::PathsRenewed);
}

/// When the kernel is asked again.
#[inline(always)]
fn until<F: Tables>(draft: &Path<F>, age: Nanoseconds, present: &Present, now: Timestamp) -> Timestamp {
    let interval = interval_at(age, present.repeat.revalidate, draft.key.protocol as u8);
    // Not by what nobody is to learn of, as from the time when a path ends.
    // SAFETY: takes no pointers.
    now + spread(interval, unsafe { bpf_get_prandom_u32() })
}

/// Whether the packet before it of the same tuple has gone the same way, and left once. If not, this one is the first.
#[inline(always)]
fn is_confirmed<F: Tables>(draft: &Path<F>, place: &Place<'_, F>, claim: u64, present: &Present) -> bool {
    let outcome = F::outcome(&draft.change, &draft.exit, draft.hops, &present.repeat.keys)
        ^ place.hash.rotate_left(17)
        ^ draft.frame.rotate_left(31);
    let Some(set) = place.set(F::sets(present)) else { return false };
    let wanted = candidate(place.hash, outcome);
    let (mut own, mut own_way, mut free, mut free_way, mut same) = (0, 0, 0, 0, 0);
    for way in 0..CANDIDATES as u64 {
        let word = cell!(set, candidates[way as usize]).load();
        let (is_own, is_free) = (has_tag(word, wanted) as u64, branchless::is_zero(word));
        own_way = branchless::select(is_own, way, own_way);
        free_way = branchless::select(is_free, way, free_way);
        own |= is_own;
        free |= is_free;
        same |= branchless::is_zero(word ^ wanted);
    }
    if same != 0 {
        return true;
    }
    let way = match (own, free) {
        (0, 0) => any_way(),
        (0, _) => free_way,
        _ => own_way,
    };
    // For the verifier of Linux 6.1 alone: LLVM would leave out the mask where it knows the number.
    let way = branchless::opaque(way) & 3;
    // SAFETY: a projection within the set, no access.
    let candidate = set.part(|set| unsafe { (&raw mut (*set).candidates).cast::<u64>().add(way as usize) });
    candidate.whole().store(wanted);
    // A second copy takes the candidate away. One on another processor may have done so before it was there.
    if let Some(passage) = F::passage(slot_of(claim))
        && cell!(passage, left).add(0) != 1
    {
        candidate.whole().store(NO_CANDIDATE);
    }
    false
}

/// Which candidate of a set gives way. By chance: of two that always come by turns one is to stay, and be confirmed.
#[inline(always)]
fn any_way() -> u64 {
    // SAFETY: takes no pointers.
    (unsafe { bpf_get_prandom_u32() } as u64 * CANDIDATES as u64) >> 32
}

/// Writes what is drawn up into a free cell of its set. A cell whose path holds is left alone.
#[inline(always)]
fn store<F: Tables>() {
    let Some(present) = &present() else { return };
    let Some(Draft { path: draft, hash, from, .. }) = F::draft() else { return };
    let (hash, now) = (*hash, clock::now());
    draft.flags = flags(draft);
    end_back(draft, *from as u32, present);
    let until = until(draft, Nanoseconds::new(0), present, now);
    F::run_until(&draft.key, until);
    let Some(set) = F::set(set_of(hash, F::sets(present))) else { return };
    // Another processor writes into it; the next packet finds it free.
    if !cell!(set, lock).swap(0, 1) {
        return;
    }
    match free(set, hash, present.epoch, now) {
        Some(way) => {
            write(cell_of(set, way), draft, present.epoch, now, until);
            // SAFETY: a projection within the set, no access.
            let tag = set.part(|set| unsafe {
                (&raw mut (*set).tags).cast::<u32>().add((way & (WAYS as u64 - 1)) as usize)
            });
            tag.whole().store(tag_of(hash));
            count::add(Counter::PathsNoted);
        }
        None => count::add(Counter::PathsCrowded),
    }
    cell!(set, lock).store(0);
}

/// A machine is at another edge than before, with the MAC address that it had, of which these are the last four bytes:
/// what comes back must not go there any more.
#[inline(always)]
fn end_back<F: Tables>(draft: &Path<F>, from: u32, present: &Present) {
    let back = draft.change.back(&draft.exit, draft.key.protocol);
    let Some(path) = Place::of(&back, &present.repeat.keys).find(F::sets(present)) else { return };
    let (first, second) = (cell!(path, exit.ethernet[0]).load(), cell!(path, exit.ethernet[1]).load());
    let [_, _, a, b] = first.to_ne_bytes();
    let [c, d, ..] = second.to_ne_bytes();
    if cell!(path, exit.edge).load() != draft.key.edge && u32::from_ne_bytes([a, b, c, d]) == from {
        cell!(path, until).store(Path::<F>::NEVER);
    }
}

/// The cell that has the tag of a hash, or else one whose path does not hold, its home before others. `None`: all hold.
///
/// Of two tuples with the same tag one has the cell until its path ends.
#[inline(always)]
fn free<F: Tables>(set: Shared<Set<F>>, hash: u64, epoch: u32, now: Timestamp) -> Option<u64> {
    let (tag, home) = (tag_of(hash), home_of(hash));
    let (mut same_way, mut same, mut over_way, mut over, mut held, mut settled) = (0, 0, 0, 0, 0, 0);
    for place in 0..WAYS as u64 {
        let path = cell_of(set, place);
        let is_over = branchless::is_less(cell!(path, until).load().number(), now.number())
            | (1 ^ branchless::is_zero((cell!(path, epoch).load() ^ epoch) as u64));
        let is_same = branchless::is_zero((cell!(set, tags[place as usize]).load() ^ tag) as u64);
        same_way = branchless::select(is_same, place, same_way);
        over_way = branchless::select(is_over & (1 ^ settled), place, over_way);
        settled |= is_over & branchless::is_zero(place ^ home);
        same |= is_same;
        over |= is_over;
        held |= is_same & (1 ^ is_over);
    }
    match (held, same, over) {
        (0, 0, 0) => None,
        (0, 0, _) => Some(over_way),
        (0, _, _) => Some(same_way),
        _ => None,
    }
}

#[inline(always)]
fn write<F: Tables>(path: Shared<Path<F>>, draft: &Path<F>, epoch: u32, now: Timestamp, until: Timestamp) {
    // A reader looks at it before and after.
    cell!(path, until).store(Path::<F>::NEVER);
    cell!(path, key).copy(&draft.key);
    cell!(path, frame).store(draft.frame);
    cell!(path, epoch).store(epoch);
    cell!(path, size).store(draft.size);
    cell!(path, hops).store(draft.hops);
    cell!(path, flags).store(draft.flags);
    cell!(path, change).copy(&draft.change);
    cell!(path, exit).copy(&draft.exit);
    cell!(path, since).store(now.tick());
    cell!(path, packets).store(0);
    cell!(path, bytes).store(0);
    cell!(path, until).store(until);
}
