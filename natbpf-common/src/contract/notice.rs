//! What the datapath tells user space of packets that it had to drop though nothing was wrong with them, so that the
//! sender can be told by ICMP (RFC 5508 REQ-8, RFC 6888 REQ-11) and the operator by name.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::time::Nanoseconds;

/// How much of a packet an ICMP error quotes: it has at most 576 bytes itself (RFC 1812, section 4.3.2.3), 28 of which
/// are headers.
pub const QUOTED: usize = 576 - 28;

/// The shortest time between two notices: a sender that floods learns nothing from more.
pub const INTERVAL: Nanoseconds = Nanoseconds::new(1_000_000);

/// One notice, as it stands in the ring buffer.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Notice {
    /// Number of a [`DropReason`](super::counter::DropReason).
    pub reason: u32,
    /// How many bytes of `packet` count.
    pub length: u32,
    /// The packet from its IPv4 header on, as the instance sent it.
    pub packet: [u8; QUOTED],
}
