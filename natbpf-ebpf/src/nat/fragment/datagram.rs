//! What is remembered of datagrams whose fragments pass: one decision for all of them, and what has passed.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    btf_maps::{Array, LruHashMap, PerCpuArray},
    helpers::generated::bpf_loop,
    macros::btf_map,
};
use natbpf_common::{
    Address,
    nat::fragment::{
        self, DATAGRAMS, Datagram, DatagramKey, Decision, Entered, Fit, IDENTIFICATIONS as COUNTERS, KEPT,
        LIFETIME, Piece, Progress, Verdict, WORDS,
    },
};

use crate::{
    kernel::clock,
    memory::{
        maps::SETTINGS,
        shared::{Cell, Lookup as _, Shared, cell},
    },
};

/// LRU: what is needed longest is known for a moment only, and a flood of first fragments must find room.
/// Preallocated. Row U28.
#[btf_map]
static FRAGMENTS: LruHashMap<DatagramKey, Datagram, DATAGRAMS> = LruHashMap::new();

/// By [`fragment::identification`].
#[btf_map]
static IDENTIFICATIONS: Array<u64, COUNTERS> = Array::new();

/// What is entered of a new datagram, one for each processor.
#[btf_map]
static BLANK: PerCpuArray<Datagram, 1> = PerCpuArray::new();

/// A datagram in the map.
///
/// It may be given to another key at any time, as elements of the flow table: the tag tells. Bits that are
/// set and fragments that are noted in the wrong one cost that datagram at most.
#[derive(Clone, Copy)]
pub struct Known {
    datagram: Shared<Datagram>,
    tag: u16,
}

/// Forgets a datagram.
#[inline(always)]
pub fn forget(key: &DatagramKey) {
    // Another processor may have been faster.
    let _ = FRAGMENTS.remove(key);
}

impl Known {
    /// `None`: nothing is known, or it is too old.
    #[inline(always)]
    pub fn find(key: &DatagramKey) -> Option<Self> {
        let datagram = FRAGMENTS.shared(key)?;
        if is_young(datagram) { Some(Self { datagram, tag: key.tag() }) } else { None }
    }

    /// The datagram, remembered from now on if it was not. `None`: there is no room, which happens when other
    /// processors are just using all there is.
    #[inline(always)]
    pub fn open(key: &DatagramKey) -> Option<Self> {
        // One lookup: what another processor enters after it must not be taken for something old.
        if let Some(datagram) = FRAGMENTS.shared(key) {
            if is_young(datagram) {
                return Some(Self { datagram, tag: key.tag() });
            }
            forget(key);
        }
        Self::enter_new(key)
    }

    #[inline(always)]
    fn enter_new(key: &DatagramKey) -> Option<Self> {
        let blank = BLANK.get_ptr_mut(0)?;
        let tag = key.tag();
        // SAFETY: nobody else has this processor's; the rest of it stays zero.
        let blank = unsafe {
            (*blank).verdict = Verdict::open(tag).to_word();
            (*blank).born = clock::now();
            &*blank
        };
        // If another processor was faster, its counts.
        let _ = FRAGMENTS.insert(key, blank, BPF_NOEXIST as u64);
        Some(Self { datagram: FRAGMENTS.shared(key)?, tag })
    }

    /// The datagram whose first fragment is here: what leaves or arrives gets this address; unspecified: it stays.
    #[inline(always)]
    pub fn decide(key: &DatagramKey, address: Address) -> Option<Self> {
        let mut known = Self::open(key)?;
        if known.verdict()?.contradicts(address) {
            // An older one with the same identification.
            forget(key);
            known = Self::enter_new(key)?;
        }
        let decision = if address.is_unspecified() { Decision::Pass } else { Decision::Translate };
        let old = Verdict::open(known.tag);
        if known.verdict()? == old {
            let identification = if key.leaves() { next_identification(key, address) } else { 0 };
            let new = Verdict { decision, address, identification, tag: known.tag };
            // If the swap fails another processor has the same fragment.
            known.swap(old, new);
        }
        Some(known)
    }

    /// `None`: the element is another key's by now.
    #[inline(always)]
    pub fn verdict(self) -> Option<Verdict> {
        let verdict = Verdict::from_word(cell!(self.datagram, verdict).load());
        if verdict.tag == self.tag { Some(verdict) } else { None }
    }

    #[inline(always)]
    fn swap(self, old: Verdict, new: Verdict) -> bool {
        cell!(self.datagram, verdict).swap(old.to_word(), new.to_word())
    }

    /// Drops what follows.
    #[inline(always)]
    pub fn spoil(self) {
        if let Some(verdict) = self.verdict() {
            self.swap(verdict, Verdict { decision: Decision::Drop, ..verdict });
        }
    }

    /// Lets no more fragments be kept. How many there are for the caller to send round; 0 if somebody else
    /// was called before.
    #[inline(always)]
    pub fn close(self) -> u32 {
        let kept = cell!(self.datagram, kept).set(Datagram::CLOSED);
        if kept & Datagram::CLOSED != 0 { 0 } else { Datagram::number_kept(kept) }
    }

    #[inline(always)]
    pub fn is_closed(self) -> bool {
        // An operation that nothing before or after may be moved over.
        cell!(self.datagram, kept).set(0) & Datagram::CLOSED != 0
    }

    /// Notes the number of a kept fragment. False: there is no room, or the first fragment has come.
    #[inline(always)]
    pub fn note(self, number: u32) -> bool {
        let kept = cell!(self.datagram, kept).add(1);
        if kept >= KEPT as u64 {
            return false;
        }
        cell!(self.datagram, numbers[kept as usize & (KEPT - 1)]).store(number);
        true
    }

    /// The number of a kept fragment; 0 if it is just being noted.
    #[inline(always)]
    pub fn number(self, index: u32) -> u32 {
        cell!(self.datagram, numbers[index as usize & (KEPT - 1)]).load()
    }

    /// Enters a fragment among those that have passed.
    #[inline(always)]
    pub fn enter(self, piece: Piece) -> Fit {
        let (word, end) = piece.words();
        let mut step = Step { datagram: self.datagram, piece, first: word, entered: Entered::default() };
        let body: unsafe extern "C" fn(u64, *mut Step) -> i64 = enter_word;
        // SAFETY: `enter_word` gets the pointer to `step` while this waits.
        let entered = unsafe {
            bpf_loop(end - word, body as *mut _, (&raw mut step).cast(), 0);
            (&raw const step.entered).read_volatile()
        };
        let [first, last] = piece.edges();
        if entered.is_new() {
            self.edges(first.0).set(first.1);
            self.edges(last.0).set(last.1);
            return Fit::New;
        }
        let there = |(word, bit)| self.edges(word).load() & bit != 0;
        entered.fit(there(first) && there(last))
    }

    /// A word of the map of edges.
    #[inline(always)]
    fn edges(self, word: u32) -> Cell<u64> {
        cell!(self.datagram, edges[word as usize & (WORDS - 1)])
    }

    /// Counts a fragment that has passed. True: it was the last that was missing.
    #[inline(always)]
    pub fn add(self, piece: Piece) -> bool {
        let step = Progress::of(piece);
        let before = cell!(self.datagram, progress).add(step);
        Progress::from_word(before.wrapping_add(step)).is_whole()
    }
}

#[inline(always)]
fn is_young(datagram: Shared<Datagram>) -> bool {
    let born = cell!(datagram, born).load();
    clock::now().since(born) <= LIFETIME
}

/// A piece that is being entered, word by word.
struct Step {
    datagram: Shared<Datagram>,
    piece: Piece,
    /// The word that it begins in.
    first: u32,
    entered: Entered,
}

/// One step of the kernel's loop. The number of the step is the kernel's: one of our own would be another number to the
/// verifier each time, and it would go on and on.
unsafe extern "C" fn enter_word(index: u64, step: *mut Step) -> i64 {
    // SAFETY: `enter` owns it and waits.
    let step = unsafe { &mut *step };
    let place = (step.first + index as u32) & (WORDS as u32 - 1);
    let old = cell!(step.datagram, units[place as usize]).set(step.piece.bits(place));
    step.entered.add(step.piece, place, old, cell!(step.datagram, edges[place as usize]).load());
    0
}

/// A new identification, so that datagrams of two instances that have the same one are not put together at
/// the other end (RFC 6864, section 5.3.1).
#[inline(always)]
fn next_identification(key: &DatagramKey, external: Address) -> u16 {
    let secret = SETTINGS.get(0).map_or([0; 2], |settings| settings.secret);
    let (counter, offset) = fragment::identification(secret, external, key.destination, key.protocol);
    let Some(counter) = IDENTIFICATIONS.shared(counter) else { return key.identification };
    (counter.whole().add(1) as u16).wrapping_add(offset)
}
