//! Errors of helpers.

/// The key is in the map already (asm-generic/errno-base.h).
pub const EEXIST: i32 = -17;
