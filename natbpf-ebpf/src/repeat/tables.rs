//! The tables of repeating: paths, what may become one, and packets on their way.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, PerCpuArray},
    macros::btf_map,
};
use natbpf_common::{
    IfIndex, Timestamp,
    contract::gauge::Gauge,
    flow::{Direction, FlowKey},
    path::{
        cell::{Change, Path},
        family::PathKeys,
        handover::Purpose,
        key::PathKey,
        passage::{Contents, Passage, SLOTS},
        repeat::Repeat,
        reserved,
        set::{Cell, Set, WAYS, home_of, set_of, tag_of},
    },
    wire::{
        Address, Address6,
        family::{V4, V6},
        headers::Headers,
        packet::Packet as _,
    },
};

use crate::{
    flow::pulse,
    kernel::branchless,
    memory::{
        gauges,
        shared::{Lookup as _, Shared, cell},
    },
    packet::{handover, skb::Skb, written::Written},
};

const MAPPED: usize = BPF_F_MMAPABLE as usize;

/// User space sets the real size, a power of two, and [`Repeat::sets`].
#[btf_map]
static PATHS: Array<Set<V4>, 1, MAPPED> = Array::new();

#[btf_map]
static PATHS6: Array<Set<V6>, 1, MAPPED> = Array::new();

#[btf_map]
static PASSAGES: Array<Passage<V4>, { SLOTS as usize }> = Array::new();

#[btf_map]
static PASSAGES6: Array<Passage<V6>, { SLOTS as usize }> = Array::new();

/// Where a path is put together, one on each processor: the stack has no room for it.
#[btf_map]
static DRAFT: PerCpuArray<Draft<V4>, 1> = PerCpuArray::new();

#[btf_map]
static DRAFT6: PerCpuArray<Draft<V6>, 1> = PerCpuArray::new();

#[btf_map]
static REPEAT: Array<Repeat, 1> = Array::new();

/// See [`reserved`].
#[btf_map]
static RESERVED: Array<u64, { reserved::ALL_WORDS as usize }> = Array::new();

/// How many passages have been claimed; a line in memory of its own, since every packet writes it that is not repeated.
#[btf_map]
static CLAIMS: Array<Claims, 1> = Array::new();

#[repr(C)]
pub struct Claims {
    number: u64,
    rest: [u64; 7],
}

/// A path that is put together, or looked up, and what else is known of its packet.
#[repr(C)]
pub struct Draft<F: Tables> {
    pub path: Path<F>,
    /// What else of the packet is compared, of one that comes in.
    pub contents: Contents,
    /// Claim of the passage that it is from.
    pub claim: u64,
    /// Hash of the path's key.
    pub hash: u64,
    /// [`Passage::from`].
    pub from: u64,
}

/// A family that has tables.
pub trait Tables: Written {
    /// Tells the program at the egress of an edge that a packet is as it has to be, if there is one that would change
    /// it.
    fn tell(to: IfIndex, change: &Change<Self>);

    fn set(index: u32) -> Option<Shared<Set<Self>>>;
    fn passage(slot: u32) -> Option<Shared<Passage<Self>>>;
    fn sets(present: &Present) -> u32;
    fn draft() -> Option<&'static mut Draft<Self>>;

    /// Of a plain packet: all that stands there of what tells datagrams apart, and of how they are cut.
    fn identification(skb: &Skb<'_>, headers: &Headers<Self>) -> u32;

    /// A word of what is reserved.
    fn reserved(word: u32) -> u64;

    /// An address as one word.
    fn folded(address: Self::Address) -> u32;

    /// Packets of this tuple are repeated until then: what else knows them is told, because it sees none of them.
    fn run_until(key: &PathKey<Self>, until: Timestamp);
}

impl Tables for V4 {
    #[inline(always)]
    fn tell(to: IfIndex, change: &Change) {
        handover::tell(to, Purpose::Repeated, change.source, change.destination);
    }

    #[inline(always)]
    fn set(index: u32) -> Option<Shared<Set>> {
        PATHS.shared(index)
    }

    #[inline(always)]
    fn passage(slot: u32) -> Option<Shared<Passage>> {
        PASSAGES.shared(slot)
    }

    #[inline(always)]
    fn sets(present: &Present) -> u32 {
        present.repeat.sets
    }

    #[inline(always)]
    fn draft() -> Option<&'static mut Draft<Self>> {
        // SAFETY: this processor's own, and no program interrupts another of the same hook.
        DRAFT.get_ptr_mut(0).map(|draft| unsafe { &mut *draft })
    }

    /// With the flag "don't fragment".
    #[inline(always)]
    fn identification(skb: &Skb<'_>, _: &Headers) -> u32 {
        skb.view::<22>(0).map_or(0, |frame| frame.u32::<18>())
    }

    #[inline(always)]
    fn reserved(word: u32) -> u64 {
        reserved_word(word)
    }

    #[inline(always)]
    fn folded(address: Address) -> u32 {
        address.to_wire()
    }

    #[inline(always)]
    fn run_until(key: &PathKey, until: Timestamp) {
        for direction in [Direction::Original, Direction::Reply] {
            let ports = (key.source_port, key.destination_port);
            let key = FlowKey::new(key.source, key.destination, ports, key.protocol as u8, direction);
            pulse::run_until(&key, until);
        }
    }
}

impl Tables for V6 {
    /// Nothing changes IPv6. And a message is for packets of IPv4: one about this packet could be made to fit another.
    #[inline(always)]
    fn tell(_: IfIndex, _: &Change<Self>) {}

    #[inline(always)]
    fn set(index: u32) -> Option<Shared<Set<Self>>> {
        PATHS6.shared(index)
    }

    #[inline(always)]
    fn passage(slot: u32) -> Option<Shared<Passage<Self>>> {
        PASSAGES6.shared(slot)
    }

    #[inline(always)]
    fn sets(present: &Present) -> u32 {
        present.repeat.sets6
    }

    #[inline(always)]
    fn draft() -> Option<&'static mut Draft<Self>> {
        // SAFETY: this processor's own, and no program interrupts another of the same hook.
        DRAFT6.get_ptr_mut(0).map(|draft| unsafe { &mut *draft })
    }

    #[inline(always)]
    fn identification(_: &Skb<'_>, headers: &Headers<Self>) -> u32 {
        headers.identification
    }

    #[inline(always)]
    fn reserved(word: u32) -> u64 {
        reserved_word(reserved::WORDS + word)
    }

    #[inline(always)]
    fn folded(address: Address6) -> u32 {
        address.fold()
    }

    /// No flow is of IPv6.
    #[inline(always)]
    fn run_until(_: &PathKey<Self>, _: Timestamp) {}
}

#[inline(always)]
fn reserved_word(word: u32) -> u64 {
    RESERVED.shared(word).map_or(0, |word| word.whole().load())
}

/// What holds for all paths at present.
pub struct Present {
    pub repeat: &'static Repeat,
    /// Counted up by each change: two numbers that only grow, together.
    pub epoch: u32,
}

/// `None`: nothing is repeated.
#[inline(always)]
pub fn present() -> Option<Present> {
    match gauges::read(Gauge::Epoch) {
        0 => None,
        epoch => {
            let epoch = epoch.wrapping_add(gauges::read(Gauge::Ended)) as u32;
            Some(Present { repeat: REPEAT.get(0)?, epoch })
        }
    }
}

/// The number of the claim that comes next; never 0.
#[inline(always)]
pub fn next_claim() -> Option<u64> {
    let claims = CLAIMS.shared(0)?;
    Some(cell!(claims, number).add(1).wrapping_add(1))
}

/// A tuple, and where its path is.
pub struct Place<'a, F: Tables> {
    pub key: &'a PathKey<F>,
    pub hash: u64,
}

impl<'a, F: Tables> Place<'a, F> {
    #[inline(always)]
    pub fn of(key: &'a PathKey<F>, keys: &PathKeys) -> Self {
        let hash = F::digest(key, keys);
        Self { key, hash }
    }

    #[inline(always)]
    pub fn set(&self, sets: u32) -> Option<Shared<Set<F>>> {
        F::set(set_of(self.hash, sets))
    }

    /// The cell of its set that may have its path: it has the key now, or the tag.
    #[inline(always)]
    pub fn cell(&self, sets: u32) -> Option<Shared<Path<F>>> {
        let set = self.set(sets)?;
        let home = home_of(self.hash);
        if cell!(cell_of(set, home), key).is(self.key) {
            return Some(cell_of(set, home));
        }
        let tag = tag_of(self.hash);
        // Without branches, so that the verifier follows what comes next once, and not once for each way.
        let (mut way, mut found) = (0, 0);
        for place in 0..WAYS {
            let same = branchless::is_zero((cell!(set, tags[place]).load() ^ tag) as u64);
            way |= place as u64 * same;
            found |= same;
        }
        if found == 0 { None } else { Some(cell_of(set, way)) }
    }

    /// The path, if the cell has this very tuple's.
    #[inline(always)]
    pub fn find(&self, sets: u32) -> Option<Shared<Path<F>>> {
        self.cell(sets).filter(|path| cell!(path, key).is(self.key))
    }
}

/// A cell of a set; any number names one.
#[inline(always)]
pub fn cell_of<F: Tables>(set: Shared<Set<F>>, way: u64) -> Shared<Path<F>> {
    // SAFETY: a projection within the set, no access.
    set.part(|set| unsafe {
        (&raw mut (*set).cells).cast::<Cell<F>>().add((way & (WAYS as u64 - 1)) as usize).cast()
    })
}
