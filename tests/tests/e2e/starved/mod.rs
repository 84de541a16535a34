//! Room, ports and shares that somebody else uses up: who has a right to them still gets them.

mod ports;
mod promiscuous;
mod strangers;
mod syn;

/// Small, so that a small flood is more than enough.
const MAX_FLOWS: u32 = 4096;
