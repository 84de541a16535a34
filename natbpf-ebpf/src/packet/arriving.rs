//! Packets where they come in.

use natbpf_common::wire::packet::Packet;

/// A packet that comes in, at whichever hook.
pub trait Arriving: Packet {
    /// Destination and source of its Ethernet frame.
    #[inline(always)]
    fn ethernet(&self) -> Option<[u32; 3]> {
        let view = self.view::<12>(0)?;
        Some([view.u32::<0>(), view.u32::<4>(), view.u32::<8>()])
    }

    /// The tag beside the frame, protocol and TCI; 0: none.
    fn vlan(&self) -> u32;

    /// Length of the segments that will be cut from it; 0: it is one packet.
    fn gso_size(&self) -> u32;
}
