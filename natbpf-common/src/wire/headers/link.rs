//! The link layer header, and the tags in it: where the network header begins.

use network_types::{
    eth::{EthHdr, EtherType},
    vlan::VlanHdr,
};

use crate::wire::packet::{Packet, view};

/// Skips the link layer header and up to two VLAN tags that are in the frame. Tags in the buffer's metadata
/// need nothing.
///
/// Without a branch on the tags, so that the verifier follows the rest of the program once and not once for
/// each number of them.
#[inline(always)]
pub fn network_offset<P: Packet>(packet: &mut P, link_header: u32) -> Option<u32> {
    if link_header == 0 {
        return if packet.is_ipv4() { Some(0) } else { None };
    }
    let mut offset = EthHdr::LEN as u32;
    for _ in 0..2 {
        let ether_type = view::<P, 2>(packet, offset - 2)?.u16::<0>();
        offset += VlanHdr::LEN as u32 * is_tag(ether_type);
    }
    let ether_type = view::<P, 2>(packet, offset - 2)?.u16::<0>();
    if ether_type == EtherType::Ipv4 as u16 { Some(offset) } else { None }
}

/// 1 for the type of a VLAN tag, 0 for others.
#[inline(always)]
fn is_tag(ether_type: u16) -> u32 {
    let mut difference = (ether_type ^ EtherType::Ieee8021q as u16) as u64
        * (ether_type ^ EtherType::Ieee8021ad as u16) as u64;
    // SAFETY: no instruction. It keeps LLVM from seeing the comparison, which it would make a branch of.
    unsafe {
        core::arch::asm!("/* {0} */", inout(reg) difference, options(pure, nomem, nostack, preserves_flags));
    };
    1 - ((difference | difference.wrapping_neg()) >> 63) as u32
}
