//! Reading the kernel's memory.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use zerocopy::FromBytes;

/// An address in the kernel.
#[derive(Clone, Copy)]
pub struct At(u64);

impl At {
    #[inline(always)]
    pub fn new(address: u64) -> Option<Self> {
        (address != 0).then_some(Self(address))
    }

    #[inline(always)]
    pub const fn offset(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes as u64))
    }

    #[inline(always)]
    pub fn read<T: FromBytes>(self) -> Option<T> {
        // SAFETY: the helper fails where there is no memory, and any bytes are a value of the type.
        unsafe { bpf_probe_read_kernel(self.0 as *const T) }.ok()
    }

    #[inline(always)]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// What the pointer that stands here leads to, null or not.
    #[inline(always)]
    pub fn pointed(self) -> Self {
        Self(self.read().unwrap_or_default())
    }

    /// What the pointer that stands here leads to; none where it is null.
    #[inline(always)]
    pub fn follow(self) -> Option<Self> {
        Self::new(self.read()?)
    }
}
