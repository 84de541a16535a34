//! Reading bytes: the kernel's memory, and a frame at a hook of TC.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_probe_read_kernel, bpf_skb_load_bytes},
};
use zerocopy::FromBytes;

/// Somewhere that headers are read.
pub trait Bytes: Copy {
    /// So many bytes further on.
    fn offset(self, bytes: u32) -> Self;
    /// What is there; zeros, and `false`, where it cannot be read.
    fn load<T: FromBytes>(self) -> (T, bool);

    #[inline(always)]
    fn read<T: FromBytes>(self) -> Option<T> {
        let (value, is_there) = self.load();
        is_there.then_some(value)
    }
}

/// An address in the kernel.
#[derive(Clone, Copy)]
pub struct At(u64);

impl Bytes for At {
    #[inline(always)]
    fn offset(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes as u64))
    }

    #[inline(always)]
    fn load<T: FromBytes>(self) -> (T, bool) {
        let mut value = T::new_zeroed();
        let (to, length) = ((&raw mut value).cast(), size_of::<T>() as u32);
        // SAFETY: the helper fails where there is no memory, and any bytes are a value of the type.
        let loaded = unsafe { bpf_probe_read_kernel(to, length, self.0 as *const _) };
        (value, loaded == 0)
    }
}

impl At {
    #[inline(always)]
    pub fn new(address: u64) -> Option<Self> {
        (address != 0).then_some(Self(address))
    }

    #[inline(always)]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// What the pointer that stands here leads to, null or not.
    #[inline(always)]
    pub fn pointed(self) -> Self {
        Self(self.load().0)
    }

    /// What the pointer that stands here leads to; none where it is null.
    #[inline(always)]
    pub fn follow(self) -> Option<Self> {
        Self::new(self.read()?)
    }
}

/// A place in a frame.
#[derive(Clone, Copy)]
pub struct Frame {
    pub skb: *mut __sk_buff,
    pub at: u32,
}

impl Bytes for Frame {
    #[inline(always)]
    fn offset(self, bytes: u32) -> Self {
        Self { at: self.at.wrapping_add(bytes), ..self }
    }

    #[inline(always)]
    fn load<T: FromBytes>(self) -> (T, bool) {
        let mut value = T::new_zeroed();
        let (to, length) = ((&raw mut value).cast(), size_of::<T>() as u32);
        // SAFETY: the buffer is as long as said, and any bytes are a value of the type.
        let loaded = unsafe { bpf_skb_load_bytes(self.skb.cast(), self.at, to, length) };
        (value, loaded == 0)
    }
}
