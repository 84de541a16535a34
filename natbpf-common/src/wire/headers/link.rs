//! The link layer header, and the tags in it: where the network header begins.

use network_types::{
    eth::{EthHdr, EtherType},
    vlan::VlanHdr,
};

use crate::wire::packet::{Packet, view};

/// Where the IP header of a packet is: its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Located {
    /// Offset of an IPv4 header, in bytes.
    V4(u32),
    /// Offset of an IPv6 header, in bytes.
    V6(u32),
}

/// Tells which family a packet with a link layer header of this length is of. Where both are followed, this is the only
/// branch on it. `None`: neither, or cut short.
///
/// The header is then read by [`Headers::read_at`](super::Headers::read_at).
#[inline(always)]
pub fn locate<P: Packet>(packet: &mut P, link_header: u32) -> Option<Located> {
    const IPV4: u16 = EtherType::Ipv4 as u16;
    const IPV6: u16 = EtherType::Ipv6 as u16;
    if link_header == 0 {
        return match (packet.is_ipv4(), packet.is_ipv6()) {
            (true, _) => Some(Located::V4(0)),
            (_, true) => Some(Located::V6(0)),
            _ => None,
        };
    }
    match behind_tags(packet)? {
        (offset, IPV4) => Some(Located::V4(offset)),
        (offset, IPV6) => Some(Located::V6(offset)),
        _ => None,
    }
}

/// Where the IPv4 header is, if there is one.
#[inline(always)]
pub(super) fn network_offset<P: Packet>(packet: &mut P, link_header: u32) -> Option<u32> {
    if link_header == 0 {
        return if packet.is_ipv4() { Some(0) } else { None };
    }
    let (offset, ether_type) = behind_tags(packet)?;
    if ether_type == EtherType::Ipv4 as u16 { Some(offset) } else { None }
}

/// Skips the link layer header and up to two VLAN tags that are in the frame. Tags in the buffer's metadata
/// need nothing. Returns the offset of what follows, and its type. Rows F23, X03.
///
/// Without a branch on the tags, so that the verifier follows the rest of the program once and not once for
/// each number of them.
#[inline(always)]
fn behind_tags<P: Packet>(packet: &mut P) -> Option<(u32, u16)> {
    let mut offset = EthHdr::LEN as u32;
    for _ in 0..2 {
        let ether_type = view::<P, 2>(packet, offset - 2)?.u16::<0>();
        offset += VlanHdr::LEN as u32 * is_tag(ether_type);
    }
    Some((offset, view::<P, 2>(packet, offset - 2)?.u16::<0>()))
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
