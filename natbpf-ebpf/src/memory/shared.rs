//! Values of maps that other processors and user space write at the same time: the one place that follows
//! pointers into maps.
//!
//! A lookup gives a [`Shared`] value, and [`cell!`] one of its fields. Nobody gets a reference to either: a
//! reference would promise the compiler that nobody else writes.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_or, atomic_xadd};

use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray};

/// A value in a map. It stays memory of its map for as long as the program runs, though not always the same key's.
pub struct Shared<T>(*mut T);

/// A word or a few, within a value of a map.
pub struct Cell<T>(*mut T);

/// A field of a shared value, as a [`Cell`].
macro_rules! cell {
    ($shared:expr, $($field:tt)+) => {
        $shared.field(|value| {
            // SAFETY: a projection, no access.
            unsafe { &raw mut (*value).$($field)+ }
        })
    };
}

pub(crate) use cell;

/// Maps in which a value is looked up.
pub trait Lookup<K> {
    type Value;

    fn shared(&self, key: K) -> Option<Shared<Self::Value>>;
}

impl<K, V, const ENTRIES: usize, const FLAGS: usize> Lookup<&K> for HashMap<K, V, ENTRIES, FLAGS> {
    type Value = V;

    #[inline(always)]
    fn shared(&self, key: &K) -> Option<Shared<V>> {
        self.get_ptr_mut(key).map(Shared)
    }
}

impl<K, V, const ENTRIES: usize, const FLAGS: usize> Lookup<&K> for LruHashMap<K, V, ENTRIES, FLAGS> {
    type Value = V;

    #[inline(always)]
    fn shared(&self, key: &K) -> Option<Shared<V>> {
        self.get_ptr_mut(key).map(Shared)
    }
}

impl<V, const ENTRIES: usize, const FLAGS: usize> Lookup<u32> for Array<V, ENTRIES, FLAGS> {
    type Value = V;

    #[inline(always)]
    fn shared(&self, index: u32) -> Option<Shared<V>> {
        self.get_ptr_mut(index).map(Shared)
    }
}

/// This processor's own value, which user space may read.
impl<V, const ENTRIES: usize, const FLAGS: usize> Lookup<u32> for PerCpuArray<V, ENTRIES, FLAGS> {
    type Value = V;

    #[inline(always)]
    fn shared(&self, index: u32) -> Option<Shared<V>> {
        self.get_ptr_mut(index).map(Shared)
    }
}

impl<T> Clone for Shared<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

impl<T> Clone for Cell<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Cell<T> {}

impl<T> Shared<T> {
    /// For [`cell!`], which projects and nothing else.
    #[inline(always)]
    pub fn field<F>(self, project: impl FnOnce(*mut T) -> *mut F) -> Cell<F> {
        Cell(project(self.0))
    }

    /// A part of the value, itself one.
    #[inline(always)]
    pub fn part<F>(self, project: impl FnOnce(*mut T) -> *mut F) -> Shared<F> {
        Shared(project(self.0))
    }

    /// The value as one.
    #[inline(always)]
    pub const fn whole(self) -> Cell<T> {
        Cell(self.0)
    }

    /// For helpers, and for a program that has the value to itself.
    #[inline(always)]
    pub const fn pointer(self) -> *mut T {
        self.0
    }
}

impl<T: Copy> Cell<T> {
    /// Reads it; a word is read whole.
    #[inline(always)]
    pub fn load(self) -> T {
        // SAFETY: within the value of a map, aligned and valid. Any bytes make a `T`, since user space writes bytes.
        unsafe { self.0.read_volatile() }
    }

    /// Writes it; a word is written whole.
    #[inline(always)]
    pub fn store(self, value: T) {
        // SAFETY: as in `load`.
        unsafe { self.0.write_volatile(value) }
    }
}

impl<T> Cell<T> {
    /// Whether it is this value, byte for byte. Word by word, so that neither is copied to the stack.
    #[inline(always)]
    pub fn is(self, value: &T) -> bool {
        let value = core::ptr::from_ref(value);
        let mut difference = 0;
        for at in 0..words::<T>() {
            // SAFETY: as in `load`; within both, and aligned as both are.
            difference |=
                unsafe { word(self.0, at).read_volatile() ^ word(value.cast_mut(), at).read_volatile() };
        }
        difference == 0
    }

    /// Copies a value into it, word by word.
    #[inline(always)]
    pub fn copy(self, value: &T) {
        let value = core::ptr::from_ref(value);
        for at in 0..words::<T>() {
            // SAFETY: as in `is`.
            unsafe { word(self.0, at).write_volatile(word(value.cast_mut(), at).read_volatile()) };
        }
    }

    /// Reads it into a value, word by word.
    #[inline(always)]
    pub fn read(self, value: &mut T) {
        let value = core::ptr::from_mut(value);
        for at in 0..words::<T>() {
            // SAFETY: as in `is`.
            unsafe { word(value, at).write_volatile(word(self.0, at).read_volatile()) };
        }
    }
}

/// How many words of 32 bits a value has; they are all of it.
const fn words<T>() -> usize {
    assert!(align_of::<T>() >= align_of::<u32>() && size_of::<T>().is_multiple_of(size_of::<u32>()));
    size_of::<T>() / size_of::<u32>()
}

/// # Safety
/// The value has to have as many words.
#[inline(always)]
unsafe fn word<T>(value: *mut T, at: usize) -> *mut u32 {
    // SAFETY: the caller's.
    unsafe { value.cast::<u32>().add(at) }
}

impl Cell<u64> {
    /// Puts `new` in the place of `old`; false if something else stood there.
    #[inline(always)]
    pub fn swap(self, old: u64, new: u64) -> bool {
        // SAFETY: as in `load`. SeqCst, because LLVM 22 miscompiles relaxed operations whose result is used.
        let (_, swapped) = unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(self.0, old, new)
        };
        swapped
    }

    /// Adds; wraps, so that adding `u64::MAX` takes one away. Returns what stood there.
    #[inline(always)]
    pub fn add(self, value: u64) -> u64 {
        // SAFETY: as in `swap`.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(self.0, value) }
    }

    /// Sets bits; returns what stood there.
    #[inline(always)]
    pub fn set(self, bits: u64) -> u64 {
        // SAFETY: as in `swap`.
        unsafe { atomic_or::<u64, u64, { AtomicOrdering::SeqCst }>(self.0, bits) }
    }
}

impl Cell<u32> {
    /// As [`Cell<u64>::swap`].
    #[inline(always)]
    pub fn swap(self, old: u32, new: u32) -> bool {
        // SAFETY: as in `load` and `swap`.
        let (_, swapped) = unsafe {
            atomic_cxchg::<u32, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(self.0, old, new)
        };
        swapped
    }
}

impl Cell<u16> {
    /// This half of a word, which comes first, and the one after it, as one.
    #[inline(always)]
    pub fn with_next(self) -> Cell<u32> {
        const { assert!(cfg!(target_endian = "little")) };
        Cell(self.0.cast())
    }
}
