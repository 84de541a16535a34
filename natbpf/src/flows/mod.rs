//! Flows as they are shown: read from the table by others, printed and filtered here.

use std::time::Duration;

use natbpf_common::{
    IfIndex,
    contract::event::EventKind,
    flow::{FlowKey, Rewrite, Status, state::State},
};

pub mod filter;
mod format;
mod json;
#[cfg(test)]
mod tests;

pub use filter::Filter;
pub use format::protocol_name;
pub use json::{EventJson, FlowJson};

/// A flow at one moment. `Display` prints the line of `conntrack -L`, with `#` that of `-o extended`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// That of the original direction: from inside, whichever side began.
    pub key: FlowKey,
    /// The external source.
    pub rewrite: Rewrite,
    pub status: Status,
    /// Until it expires, if nothing comes.
    pub remaining: Duration,
    /// Since it began.
    pub age: Duration,
    /// Interface index of the uplink.
    pub uplink: IfIndex,
}

/// Something that happened to a flow. `Display` prints the line of `conntrack -E`, with `#` that of `-o extended`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    pub flow: Flow,
}

impl Event {
    /// What happened, in a word.
    pub const fn name(&self) -> &'static str {
        match self.kind {
            EventKind::New => "new",
            EventKind::Update => "update",
            EventKind::Destroy => "destroy",
        }
    }
}

impl Flow {
    pub fn state(&self) -> State {
        State::from_number(self.status.state())
    }
}
