//! Writing plain frames in place (`Headers::plain`), at whichever hook.

use natbpf_common::{
    IfIndex,
    flow::Rewrite,
    wire::{
        headers::Headers,
        packet::{End, Translation},
    },
};
use network_types::{eth::EthHdr, icmp::Icmpv4Hdr, ip::Ipv4Hdr};

/// Offset of the IPv4 header: no tag is in the frame.
const NETWORK: usize = EthHdr::LEN;

/// Offset of what follows it: there are no options.
pub const TRANSPORT: usize = NETWORK + Ipv4Hdr::LEN;

/// No plain frame is shorter.
pub const SHORTEST: usize = TRANSPORT + Icmpv4Hdr::LEN;

/// What is done to a packet.
#[derive(Clone, Copy)]
pub struct Change {
    /// The end that gets another address and port, and which; `None`: both ends stay as they are.
    pub translation: Option<(End, Rewrite)>,
    /// What is taken from the time to live: a router takes 1, a bridge 0.
    pub hops: u8,
}

impl Change {
    /// The translation of a packet with these headers.
    #[inline(always)]
    pub fn translation(&self, headers: &Headers) -> Option<Translation> {
        self.translation.map(|(end, rewrite)| headers.translation(end, rewrite.address, rewrite.port))
    }
}

/// Where a frame leaves, and as what.
#[derive(Clone, Copy)]
pub struct Exit {
    /// Interface index of the device.
    pub device: IfIndex,
    /// Destination and source, as they stand in the frame.
    pub ethernet: [u32; 3],
    /// 802.1Q, host order; 0: none.
    pub vlan: u32,
}

/// Writes the Ethernet addresses and the IPv4 header with so many hops less of time to live. The change of the header's
/// own checksum cancels the others in the checksum of the whole packet. Rows F01, F16.
///
/// # Safety
/// The frame has to be plain, [`SHORTEST`] bytes of it have to be writable, and the verifier has to have seen
/// the check.
#[inline(always)]
pub unsafe fn write_headers(
    frame: *mut u8,
    headers: &Headers,
    translation: Option<&Translation>,
    hops: u8,
    exit: &Exit,
) {
    let protocol = u16::from_ne_bytes([headers.time_to_live - hops, headers.protocol]);
    let sum = headers.checksum_after(translation, hops);
    let (source, destination) = match translation {
        Some(translation) => translation.addresses(),
        None => (headers.source, headers.destination),
    };
    let word = |at: usize, value: u32| {
        // SAFETY: within the shortest frame. Volatile, or LLVM would write byte by byte: the packet may stand
        // at odd addresses.
        unsafe { frame.add(at).cast::<u32>().write_volatile(value) }
    };
    word(NETWORK + 8, protocol as u32 | (sum as u32) << 16);
    word(NETWORK + 12, source.to_wire());
    word(NETWORK + 16, destination.to_wire());
    word(0, exit.ethernet[0]);
    word(4, exit.ethernet[1]);
    word(8, exit.ethernet[2]);
}
