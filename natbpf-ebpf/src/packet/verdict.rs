//! What becomes of a packet.

use natbpf_common::contract::counter::DropReason;

/// What becomes of a packet that is not dropped.
///
/// As large as a [`Counter`]: then LLVM keeps a [`Handled`] in two registers, and does not pack it into one
/// word together with whatever is in a register that nobody asks for, which may be a pointer.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum Outcome {
    /// It goes on as it came.
    Untouched,
    /// It goes on, translated.
    Translated,
    /// Copies of it and of fragments that came before it are under way in its place.
    Replayed,
    /// It goes elsewhere: a helper was told where.
    Redirected,
    /// It goes elsewhere, as those before it, and has been counted.
    Repeated,
}

/// Every way in which a packet can be handled; the error is the reason to drop it.
pub type Handled = Result<Outcome, DropReason>;

impl Outcome {
    #[inline(always)]
    pub const fn translated(translated: bool) -> Self {
        if translated { Self::Translated } else { Self::Untouched }
    }
}
