//! The flow engine's words: keys, entries, states, timeouts.
//!
//! A flow has two entries, one for each direction, and each holds the whole rewrite of its direction: a
//! packet of a known flow costs one lookup. The entry of the original direction is the authority on the
//! flow's life; the entry of the reply direction keeps a copy that it renews at most once a second.

pub mod entry;
pub mod key;
pub mod life;
pub mod state;
pub mod status;
pub mod step;
pub mod tcp;
pub mod timeouts;

pub use entry::{FlowEntry, Traits};
pub use key::{Direction, FlowKey, Rewrite};
pub use state::State;
pub use status::Status;
pub use timeouts::Timeouts;
