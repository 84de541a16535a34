//! Settings of the whole datapath.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{flow::Timeouts, siphash::Secret};

/// What natbpf has changed on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Changes(u32);

bitflags! {
    impl Changes: u32 {
        /// natbpf has set `net.netfilter.nf_conntrack_tcp_be_liberal`, which was 0.
        const MADE_LIBERAL = 1;
    }
}

/// What the daemon sets for all programs; the only value of its map.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Settings {
    /// Idle timeouts of flows.
    pub timeouts: Timeouts,
    /// Key of the hashes that choose ports. Made once for a pinned instance, so that ports stay the same over a
    /// restart.
    pub secret: Secret,
    /// Cookie of the network namespace whose flows these are.
    pub netns: u64,
    /// What natbpf has changed on the host, to be put back.
    pub changes: Changes,
    /// How many reservations there may be for flows of one of the host's addresses; 0: no limit.
    pub host_share: u32,
}

#[cfg(feature = "user")]
mod user {
    // SAFETY: `repr(C)`, no padding (zerocopy's `IntoBytes` proves it), any bytes are valid.
    unsafe impl aya::Pod for super::Settings {}
}
