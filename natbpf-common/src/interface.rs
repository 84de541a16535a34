//! Interface indexes, as a type, so that no other number takes their place.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The index that the kernel knows an interface by within its network namespace.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct IfIndex(u32);

impl IfIndex {
    /// No interface.
    pub const NONE: Self = Self(0);

    /// From the kernel's number.
    #[inline(always)]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The kernel's number.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Whether it is [`IfIndex::NONE`].
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for IfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for IfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(transparent)`, and any bytes of a number are valid.
    unsafe impl aya::Pod for super::IfIndex {}
}
