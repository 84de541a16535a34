//! Fragments that come before the first one of their datagram are kept, in a ring of places.

use aya_ebpf::{
    bindings::__sk_buff, btf_maps::Array, helpers::generated::bpf_skb_load_bytes, macros::btf_map,
};
use natbpf_common::{
    contract::counter::Counter,
    nat::fragment::{DatagramKey, LONGEST, PLACES, Place},
    wire::headers::Headers,
};

use crate::{memory::atomic, nat::fragment::datagram::Known, tell::count};

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

/// Keeps a fragment. `held`: it does not go on.
#[inline(always)]
pub fn keep(skb: *mut __sk_buff, headers: &Headers, key: &DatagramKey, known: Known, held: bool) -> Kept {
    let length = headers.transport - headers.network + headers.payload;
    let Some(counter) = KEPT_NUMBER.get_ptr_mut(0) else { return Kept::No };
    if length > LONGEST as u32 {
        return Kept::No;
    }
    let number = (atomic::fetch_add(counter, 1) as u32).wrapping_add(1);
    let Some(place) = Occupied::place(number) else { return Kept::No };
    if number == 0 || !place.fill(skb, headers.network, length, key, held) {
        return Kept::No;
    }
    if !known.note(number) {
        place.leave();
        return if known.is_closed() { Kept::Decided } else { Kept::No };
    }
    // Whoever closed it just now may have found the number or not.
    if known.is_closed() && place.leave() { Kept::Decided } else { Kept::Yes }
}

/// A place, as it is looked for by a number.
#[derive(Clone, Copy)]
pub struct Occupied {
    place: *mut Place,
    number: u32,
}

impl Occupied {
    #[inline(always)]
    pub fn place(number: u32) -> Option<Self> {
        let place = KEPT.get_ptr_mut(number & (PLACES as u32 - 1))?;
        Some(Self { place, number })
    }

    #[inline(always)]
    fn swap(self, old: u64, new: u64) -> bool {
        // SAFETY: a projection, no access.
        atomic::swap(unsafe { &raw mut (*self.place).state }, old, new)
    }

    /// Copies a fragment here, in the place of an older one. False: others are at it, or the kernel refuses.
    #[inline(always)]
    fn fill(self, skb: *mut __sk_buff, network: u32, length: u32, key: &DatagramKey, held: bool) -> bool {
        // SAFETY: a projection, no access.
        let old = atomic::load(unsafe { &raw const (*self.place).state });
        let busy = Place::state(self.number, Place::BUSY);
        if Place::is(old, Place::BUSY) || !self.swap(old, busy) {
            return false;
        }
        // A volatile read, or LLVM leaves the mask out, from which the verifier learns the bounds.
        let last = length.wrapping_sub(1);
        // SAFETY: a local variable.
        let last = unsafe { (&raw const last).read_volatile() };
        let room = (last & (LONGEST as u32 - 1)) + 1;
        // SAFETY: whoever has made it busy has it to himself.
        let result = unsafe {
            if Place::is(old, Place::FULL) && (*self.place).held != 0 {
                count::add(Counter::FragmentLost);
            }
            (*self.place).key = *key;
            (*self.place).length = length;
            (*self.place).held = held as u32;
            bpf_skb_load_bytes(skb.cast(), network, (&raw mut (*self.place).bytes).cast(), room)
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
        // SAFETY: plain numbers; as long as the number stands there the rest belongs to it.
        let same = unsafe { (*self.place).key == *key };
        let full = Place::state(self.number, Place::FULL);
        if same && self.swap(full, Place::state(self.number, Place::BUSY)) { Some(self.place) } else { None }
    }

    #[inline(always)]
    pub fn done(self) {
        self.swap(Place::state(self.number, Place::BUSY), Place::FREE);
    }
}
