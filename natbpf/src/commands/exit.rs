//! Statuses by which commands end, besides 0 and 1.

/// Wrong usage that the command line alone does not show.
pub const USAGE: u8 = 2;

/// What was asked for could not be looked at.
pub const UNSEEN: u8 = 3;
