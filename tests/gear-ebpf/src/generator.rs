//! Traffic for tests and benchmarks, at the speed of the kernel: `generate` makes UDP packets (an XDP
//! program, run on live frames), `sink` and `sink_xdp` count and drop them where they arrive.
#![no_std]
#![no_main]

use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, BPF_F_MMAPABLE, TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    btf_maps::{Array, PerCpuArray},
    helpers::generated::{bpf_skb_load_bytes, bpf_skb_vlan_pop, bpf_skb_vlan_push},
    macros::{btf_map, classifier, xdp},
    programs::{TcContext, XdpContext},
};
use natbpf_common::wire::{Address, Address6, checksum, protocol::UDP};
use natbpf_gear::{FRAME, FRAME6, Received, Tuple, Workload, four, six};
use network_types::eth::EtherType;

#[btf_map]
static WORKLOAD: Array<Workload, 1> = Array::new();

/// Packets made so far.
#[btf_map]
static MADE: PerCpuArray<u64, 1> = PerCpuArray::new();

#[btf_map]
static RECEIVED: PerCpuArray<Received, 1> = PerCpuArray::new();

/// Which flow has which turn, where a workload is in sequence.
#[btf_map]
static SEQUENCE: Array<u64, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Bytes of an Ethernet header, and the offset of the last two of them.
const ETHERNET: usize = 14;
const ETHER_TYPE: usize = 12;

/// Offsets of the source address in a frame; the destination follows it.
const SOURCE: usize = 26;
const SOURCE6: usize = 22;

/// Bytes from the EtherType to the end of the addresses of IPv6.
const HEAD: usize = SOURCE6 + 32 - ETHER_TYPE;

/// Makes the next packet of the workload. Every byte is written: frames come back as their last user left
/// them.
#[xdp]
pub fn generate(ctx: XdpContext) -> u32 {
    let (Some(workload), Some(made)) = (WORKLOAD.get(0), MADE.get_ptr_mut(0)) else {
        return xdp_action::XDP_ABORTED;
    };
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + FRAME > end {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: the value belongs to this processor.
    let number = unsafe {
        let number = *made;
        *made = number + 1;
        number
    };
    let turn = workload.turn(number);
    let number = if workload.in_sequence == 0 {
        turn
    } else {
        let Some(number) = SEQUENCE.get(turn as u32) else { return xdp_action::XDP_ABORTED };
        *number
    };
    let flow = workload.sent(number);
    let frame = start as *mut u16;
    // SAFETY: the frame is as long as checked, and two bytes may be written at any even offset.
    let put = |offset: usize, word: u16| unsafe { frame.byte_add(offset).write_volatile(word) };
    for (place, word) in workload.ethernet.iter().enumerate() {
        put(2 * place, *word);
    }
    if workload.ethernet[6] != EtherType::Ipv6 as u16 {
        let sum = ipv4(put, &flow);
        udp(put, (34, FRAME), &flow, sum);
    } else if start + FRAME6 <= end {
        let sum = ipv6(put, &flow);
        udp(put, (54, FRAME6), &flow, sum);
    } else {
        return xdp_action::XDP_ABORTED;
    }
    xdp_action::XDP_TX
}

/// Writes the header; returns the sum of its addresses.
#[inline(always)]
fn ipv4(put: impl Fn(usize, u16), flow: &Tuple) -> u32 {
    let length = (FRAME - ETHERNET) as u16;
    let (source, destination) = (flow.source.to_wire(), flow.destination.to_wire());
    let addresses = halves(source) + halves(destination);
    let header = [0x4500_u16.to_be(), length.to_be(), 0, 0x4000_u16.to_be(), (64 << 8 | UDP as u16).to_be()];
    let mut sum = addresses;
    for (place, word) in header.iter().enumerate() {
        put(14 + 2 * place, *word);
        sum += *word as u32;
    }
    put(24, !checksum::fold(sum));
    for (place, word) in [source, destination].into_iter().enumerate() {
        put(26 + 4 * place, word as u16);
        put(28 + 4 * place, (word >> 16) as u16);
    }
    addresses
}

/// The same of IPv6.
#[inline(always)]
fn ipv6(put: impl Fn(usize, u16), flow: &Tuple) -> u32 {
    let length = (FRAME6 - ETHERNET - 40) as u16;
    let header = [0x6000_u16.to_be(), 0, length.to_be(), ((UDP as u16) << 8 | 64).to_be()];
    for (place, word) in header.iter().enumerate() {
        put(14 + 2 * place, *word);
    }
    let mut addresses = 0;
    for (end, address) in [six(flow.source), six(flow.destination)].into_iter().enumerate() {
        for (place, word) in address.to_wire().into_iter().enumerate() {
            put(22 + 16 * end + 4 * place, word as u16);
            put(24 + 16 * end + 4 * place, (word >> 16) as u16);
            addresses += halves(word);
        }
    }
    addresses
}

/// Writes the header at an offset, with zeros behind it up to an end.
#[inline(always)]
fn udp(put: impl Fn(usize, u16), (offset, end): (usize, usize), flow: &Tuple, addresses: u32) {
    let length = (end - offset) as u16;
    let (source, destination) = (flow.source_port.to_wire(), flow.destination_port.to_wire());
    let pseudo = addresses + (UDP as u16).to_be() as u32 + 2 * length.to_be() as u32;
    put(offset, source);
    put(offset + 2, destination);
    put(offset + 4, length.to_be());
    let checksum = !checksum::fold(pseudo + source as u32 + destination as u32);
    // 0 would say that there is none, which IPv6 does not allow.
    put(offset + 6, if checksum == 0 { u16::MAX } else { checksum });
    for place in (offset + 8..end).step_by(2) {
        put(place, 0);
    }
}

/// The sum of both halves of a word.
#[inline(always)]
const fn halves(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}

/// Counts the packets of workloads, and drops them.
#[classifier]
pub fn sink(ctx: TcContext) -> i32 {
    let mut head = [0u16; HEAD / 2];
    // SAFETY: the buffer is as long as said.
    let loaded = unsafe {
        bpf_skb_load_bytes(
            ctx.as_ptr().cast(),
            ETHER_TYPE as u32,
            head.as_mut_ptr().cast(),
            size_of_val(&head) as u32,
        )
    };
    if loaded == 0 && count(|offset| head[(offset - ETHER_TYPE) / 2] as u32) {
        TC_ACT_SHOT
    } else {
        TC_ACT_UNSPEC
    }
}

/// The same for frames that have no socket buffer yet.
#[xdp]
pub fn sink_xdp(ctx: XdpContext) -> u32 {
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + FRAME > end {
        return xdp_action::XDP_PASS;
    }
    // SAFETY: the frame is as long as checked, and two bytes may be read at any even offset.
    let word = |offset: usize| unsafe { *((start + offset) as *const u16) } as u32;
    if count(word) { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

/// Whether a packet, by its 16-bit words, is of the workload; then it is counted.
#[inline(always)]
fn count(word: impl Fn(usize) -> u32) -> bool {
    let Some((source, destination)) = addresses(word) else { return false };
    let (Some(workload), Some(received)) = (WORKLOAD.get(0), RECEIVED.get_ptr_mut(0)) else { return false };
    let Some(expected) = workload.is_expected(source.to_wire(), destination.to_wire()) else { return false };
    // SAFETY: the value belongs to this processor.
    unsafe {
        if expected {
            (*received).expected += 1;
        } else {
            (*received).other += 1;
        }
    }
    true
}

/// Source and destination; those of an IPv6 packet by the IPv4 addresses of the same nodes.
#[inline(always)]
fn addresses(word: impl Fn(usize) -> u32) -> Option<(Address, Address)> {
    let long = |offset: usize| word(offset) | word(offset + 2) << 16;
    if word(ETHER_TYPE) != EtherType::Ipv6 as u32 {
        return Some((Address::from_wire(long(SOURCE)), Address::from_wire(long(SOURCE + 4))));
    }
    let node = |offset: usize| four(Address6::from_wire([0, 4, 8, 12].map(|place| long(offset + place))));
    Some((node(SOURCE6)?, node(SOURCE6 + 16)?))
}

/// Puts a VLAN tag on what leaves, in the buffer's metadata, as a VLAN device does.
#[classifier]
pub fn push_tag(ctx: TcContext) -> i32 {
    const VLAN: u16 = 5;
    // SAFETY: the context is valid. A packet that gets no tag does not arrive, which is seen.
    unsafe { bpf_skb_vlan_push(ctx.as_ptr().cast(), EtherType::Ieee8021q as u16, VLAN) };
    TC_ACT_UNSPEC
}

/// Takes it off what arrives, and drops what has none.
#[classifier]
pub fn pop_tag(ctx: TcContext) -> i32 {
    // SAFETY: the context is valid.
    unsafe {
        let skb: *mut __sk_buff = ctx.as_ptr().cast();
        if (*skb).vlan_present == 0 || bpf_skb_vlan_pop(skb) != 0 {
            return TC_ACT_SHOT;
        }
    }
    TC_ACT_UNSPEC
}

/// Never reached.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
