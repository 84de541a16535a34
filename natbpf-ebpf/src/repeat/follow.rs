//! A packet whose path is known: what the kernel did to those before it is done to it, too.

use natbpf_common::{
    Timestamp,
    path::{cell::Path, plain},
    wire::headers::Headers,
};

use super::tables::{Place, Present, Tables};
use crate::{
    memory::shared::{Shared, cell},
    packet::arriving::Arriving,
};

/// Copies what the path of a packet says into the draft, if there is one that holds for it: into memory of a map, since
/// the stack has no room for it.
#[inline(always)]
pub fn find<F: Tables, P: Arriving>(
    packet: &P,
    headers: &Headers<F>,
    draft: &mut Path<F>,
    present: &Present,
    now: Timestamp,
) -> Option<Shared<Path<F>>> {
    let place = Place::of(&draft.key, &present.repeat.keys);
    let path = place.cell(F::sets(present))?;
    let until = cell!(path, until).load();
    let holds = Path::<F>::holds(until, cell!(path, epoch).load(), now, present.epoch);
    draft.hops = cell!(path, hops).load();
    draft.flags = cell!(path, flags).load();
    // What is longer is for the kernel to refuse or to cut. Rows U25, U26, B12.
    let fits = plain::size(headers, packet.gso_size()) <= cell!(path, size).load() as u32;
    let lives = headers.time_to_live > draft.hops;
    let is_its = cell!(path, key).is(&draft.key) && cell!(path, frame).load() == draft.frame;
    if !holds || !fits || !lives || !is_its {
        return None;
    }
    cell!(path, change).read(&mut draft.change);
    cell!(path, exit).read(&mut draft.exit);
    // A writer takes it away first, so it is whole if it is what it was.
    if cell!(path, until).load() == until { Some(path) } else { None }
}

/// Counts a packet. Not by an atomic: packets of one flow come on one processor, and a lost one is no harm.
#[inline(always)]
pub fn count<F: Tables>(path: Shared<Path<F>>, length: u32) {
    let (packets, bytes) = (cell!(path, packets), cell!(path, bytes));
    packets.store(packets.load().wrapping_add(1));
    bytes.store(bytes.load().wrapping_add(length as u64));
}

/// Ends the path of a tuple, and that of what comes back on it, if it comes back here: who sends in somebody else's
/// name ends nothing of theirs.
#[inline(always)]
pub fn end<F: Tables>(draft: &mut Path<F>, present: &Present) {
    let Some(path) = Place::of(&draft.key, &present.repeat.keys).find(F::sets(present)) else { return };
    cell!(path, until).store(Path::<F>::NEVER);
    cell!(path, change).read(&mut draft.change);
    cell!(path, exit).read(&mut draft.exit);
    let here = draft.key.edge;
    draft.key = draft.change.back(&draft.exit, draft.key.protocol);
    if let Some(path) = Place::of(&draft.key, &present.repeat.keys).find(F::sets(present))
        && cell!(path, exit.edge).load() == here
    {
        cell!(path, until).store(Path::<F>::NEVER);
    }
}
