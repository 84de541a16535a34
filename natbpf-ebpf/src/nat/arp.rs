//! Answering ARP for external addresses that the host itself does not have: floating ones and those of pools.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_redirect};
use natbpf_common::{
    Address, IfIndex,
    contract::{
        counter::Counter,
        forwards::{ExternalFlags, ExternalKey},
        uplinks::{Uplink, UplinkFlags},
    },
    wire::{arp::Arp, packet::Packet},
};
use network_types::eth::{EthHdr, EtherType};

use crate::{
    kernel::global::global,
    memory::{
        maps::EXTERNALS,
        shared::{Lookup as _, cell},
    },
    packet::skb::Skb,
    tell::count,
};

const ETHER_TYPE: u32 = 12;

/// Whether a packet that is not IPv4 has been answered; it is on its way back then.
#[inline(always)]
pub fn answer(skb: &Skb<'_>, uplink: &Uplink) -> bool {
    if !uplink.has(UplinkFlags::SERVES) || uplink.link_header != EthHdr::LEN as u32 {
        return false;
    }
    answer_arp(skb.raw(), uplink.interface)
}

global!(fn answer_arp(skb: *mut __sk_buff, interface: IfIndex) -> bool = answer_arp_inner);

#[inline(always)]
fn answer_arp_inner(skb: *mut __sk_buff, interface: IfIndex) -> bool {
    let mut skb = Skb::of(skb);
    if skb.load::<u16>(ETHER_TYPE) != Some(EtherType::Arp as u16) {
        return false;
    }
    let Some(question) = skb.load::<Arp>(EthHdr::LEN as u32) else { return false };
    if !question.is_request() {
        return false;
    }
    let address = Address::from_wire(u32::from_ne_bytes(question.target));
    let Some(external) = EXTERNALS.shared(&ExternalKey { uplink: interface, address }) else { return false };
    // Whole values are written by user space alone, and a torn MAC address would be seen by one question.
    let mac = cell!(external, mac).load();
    if !cell!(external, flags).load().intersects(ExternalFlags::ANSWER) {
        return false;
    }
    let written = skb
        .store(EthHdr::LEN as u32, &question.answer(mac))
        .and_then(|()| skb.store(0, &question.sender_mac))
        .and_then(|()| skb.store(size_of_val(&mac) as u32, &mac));
    if written.is_err() {
        return false;
    }
    count::add(Counter::ArpAnswered);
    // SAFETY: takes no pointers.
    unsafe { bpf_redirect(skb.interface().number(), 0) };
    true
}
