//! Telling user space.

pub mod count;
pub mod event;
pub mod notice;
pub mod trace;
