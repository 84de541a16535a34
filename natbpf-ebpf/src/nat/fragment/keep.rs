//! Fragments that come before the first one of their datagram are kept, in a ring of places.

use aya_ebpf::{
    bindings::__sk_buff, btf_maps::Array, helpers::generated::bpf_skb_load_bytes, macros::btf_map,
};
use natbpf_common::{
    contract::counter::Counter,
    nat::fragment::{DatagramKey, LONGEST, PLACES, Place},
    wire::headers::Headers,
};

use crate::{
    memory::shared::{Lookup as _, Shared, cell},
    nat::fragment::datagram::Known,
    tell::count,
};

#[btf_map]
static KEPT: Array<Place, PLACES> = Array::new();

/// The number that was given out last.
#[btf_map]
static KEPT_NUMBER: Array<u64, 1> = Array::new();

/// What became of a fragment that was to be kept.
pub enum Kept {
    Yes,
    /// There is no room, or it is too long.
    No,
    /// The first one has come meanwhile.
    Decided,
}

/// Keeps a fragment. `held`: it does not go on. Row U27.
#[inline(always)]
pub fn keep(skb: *mut __sk_buff, headers: &Headers, key: &DatagramKey, known: Known, held: bool) -> Kept {
    let length = headers.transport - headers.network + headers.payload;
    let Some(counter) = KEPT_NUMBER.shared(0) else { return Kept::No };
    if length > LONGEST as u32 {
        return Kept::No;
    }
    let number = (counter.whole().add(1) as u32).wrapping_add(1);
    let Some(place) = Occupied::place(number) else { return Kept::No };
    if number == 0 || !place.fill(skb, headers.network, length, key, held) {
        return Kept::No;
    }
    if !known.note(number) {
        place.leave();
        return if known.is_closed() { Kept::Decided } else { Kept::No };
    }
    // The program that closed it just now may have found the number or not.
    if known.is_closed() && place.leave() { Kept::Decided } else { Kept::Yes }
}

/// A place, as it is looked for by a number.
#[derive(Clone, Copy)]
pub struct Occupied {
    place: Shared<Place>,
    number: u32,
}

impl Occupied {
    #[inline(always)]
    pub fn place(number: u32) -> Option<Self> {
        let place = KEPT.shared(number & (PLACES as u32 - 1))?;
        Some(Self { place, number })
    }

    #[inline(always)]
    fn swap(self, old: u64, new: u64) -> bool {
        cell!(self.place, state).swap(old, new)
    }

    /// Copies a fragment here, in the place of an older one. False: others are at it, or the kernel refuses.
    #[inline(always)]
    fn fill(self, skb: *mut __sk_buff, network: u32, length: u32, key: &DatagramKey, held: bool) -> bool {
        let old = cell!(self.place, state).load();
        let busy = Place::state(self.number, Place::BUSY);
        if Place::is(old, Place::BUSY) || !self.swap(old, busy) {
            return false;
        }
        // A volatile read, or LLVM leaves the mask out, from which the verifier learns the bounds.
        let last = length.wrapping_sub(1);
        // SAFETY: a local variable.
        let last = unsafe { (&raw const last).read_volatile() };
        let room = (last & (LONGEST as u32 - 1)) + 1;
        if Place::is(old, Place::FULL) && cell!(self.place, held).load() != 0 {
            count::add(Counter::FragmentLost);
        }
        cell!(self.place, key).store(*key);
        cell!(self.place, length).store(length);
        cell!(self.place, held).store(held as u32);
        // SAFETY: the program that has made it busy has it to itself.
        let result = unsafe {
            bpf_skb_load_bytes(skb.cast(), network, (&raw mut (*self.place.pointer()).bytes).cast(), room)
        };
        self.swap(busy, if result == 0 { Place::state(self.number, Place::FULL) } else { Place::FREE });
        result == 0
    }

    /// Gives the place up. False: somebody else has taken the fragment or the place.
    #[inline(always)]
    fn leave(self) -> bool {
        self.swap(Place::state(self.number, Place::FULL), Place::FREE)
    }

    /// Takes the fragment, if it still is there and of this datagram, until [`Occupied::done`].
    #[inline(always)]
    pub fn take(self, key: &DatagramKey) -> Option<*const Place> {
        // As long as the number stands there the rest belongs to it.
        let same = cell!(self.place, key).load() == *key;
        let full = Place::state(self.number, Place::FULL);
        if same && self.swap(full, Place::state(self.number, Place::BUSY)) {
            Some(self.place.pointer())
        } else {
            None
        }
    }

    #[inline(always)]
    pub fn done(self) {
        self.swap(Place::state(self.number, Place::BUSY), Place::FREE);
    }
}
