//! Telling the program at the egress of a device why a packet is sent there (see `natbpf_common::path::handover`).

use aya_ebpf::{btf_maps::PerCpuArray, helpers::generated::bpf_redirect, macros::btf_map};
use natbpf_common::{
    Address, IfIndex,
    path::handover::{Handover, Purpose},
    wire::packet::Packet,
};
use network_types::{eth::EthHdr, ip::Ipv4Hdr};

use super::skb::Skb;
use crate::memory::shared::Lookup as _;

/// What is said on each processor.
#[btf_map]
static HANDOVER: PerCpuArray<Handover, 1> = PerCpuArray::new();

/// Offset of the addresses in an IPv4 header.
const ADDRESSES: usize = Ipv4Hdr::LEN - 8;

/// Has the packet, which has these addresses by now, sent out of a device, and tells the program there why.
#[inline(always)]
pub fn redirect(interface: IfIndex, purpose: Purpose, source: Address, destination: Address) {
    tell(interface, purpose, source, destination);
    // SAFETY: takes no pointers.
    unsafe { bpf_redirect(interface.number(), 0) };
}

/// Tells the program at the egress of a device why the packet with these addresses comes.
#[inline(always)]
pub fn tell(interface: IfIndex, purpose: Purpose, source: Address, destination: Address) {
    write(Handover::new(interface, purpose, source, destination));
}

/// What is said of this packet, which is at the egress of its device. It stays said if the packet is to be
/// turned round, until [`forget`].
#[inline(always)]
pub fn take(skb: &Skb<'_>) -> Option<Purpose> {
    let handover = HANDOVER.shared(0)?.whole();
    let interface = skb.interface();
    let said = handover.load();
    if said.to as u32 != interface.number() {
        return None;
    }
    let purpose = said
        .purpose(interface, addresses::<{ EthHdr::LEN + ADDRESSES }>(skb)?)
        .or_else(|| said.purpose(interface, addresses::<ADDRESSES>(skb)?));
    if purpose != Some(Purpose::Turning) {
        // By the pointer that is here: a lookup is a call.
        handover.store(NOTHING);
    }
    purpose
}

#[inline(always)]
fn addresses<const OFFSET: usize>(skb: &Skb<'_>) -> Option<u64> {
    let view = skb.view::<8>(OFFSET as u32)?;
    Some(u64::from_ne_bytes(zerocopy::transmute!([view.u32::<0>(), view.u32::<4>()])))
}

const NOTHING: Handover = Handover { to: 0, addresses: 0 };

/// Nothing is said any more.
#[inline(always)]
pub fn forget() {
    write(NOTHING);
}

/// What is said now, for [`write`] after something that may change it.
#[inline(always)]
pub fn read() -> Handover {
    HANDOVER.shared(0).map_or(NOTHING, |handover| handover.whole().load())
}

#[inline(always)]
pub fn write(said: Handover) {
    if let Some(handover) = HANDOVER.shared(0) {
        handover.whole().store(said);
    }
}
