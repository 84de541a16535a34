//! Traffic for tests and benchmarks, at the speed of the kernel: `generate` makes UDP packets (an XDP
//! program, run on live frames), `sink` and `sink_xdp` count and drop them where they arrive.
#![no_std]
#![no_main]

use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    btf_maps::{Array, PerCpuArray},
    helpers::generated::{bpf_skb_load_bytes, bpf_skb_vlan_pop, bpf_skb_vlan_push},
    macros::{btf_map, classifier, xdp},
    programs::{TcContext, XdpContext},
};
use natbpf_common::wire::{checksum, protocol::UDP};
use natbpf_gear::{FRAME, Received, Workload};
use network_types::eth::EtherType;

#[btf_map]
static WORKLOAD: Array<Workload, 1> = Array::new();

/// Packets made so far.
#[btf_map]
static MADE: PerCpuArray<u64, 1> = PerCpuArray::new();

#[btf_map]
static RECEIVED: PerCpuArray<Received, 1> = PerCpuArray::new();

/// Offset of the source address in a frame; the destination follows it.
const SOURCE: usize = 26;

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
    let flow = workload.sent(number);
    let frame = start as *mut u16;
    // SAFETY: the frame is as long as checked, and two bytes may be written at any even offset.
    let put = |offset: usize, word: u16| unsafe { frame.byte_add(offset).write_volatile(word) };
    for (place, word) in workload.ethernet.iter().enumerate() {
        put(2 * place, *word);
    }
    let length = (FRAME - 14) as u16;
    let udp_length = length - 20;
    let (source, destination) = (flow.source.to_wire(), flow.destination.to_wire());
    let addresses = (source & 0xffff) + (source >> 16) + (destination & 0xffff) + (destination >> 16);
    let header = [0x4500_u16.to_be(), length.to_be(), 0, 0x4000_u16.to_be(), (64 << 8 | UDP as u16).to_be()];
    let mut sum = addresses;
    for (place, word) in header.iter().enumerate() {
        put(14 + 2 * place, *word);
        sum += *word as u32;
    }
    put(24, !checksum::fold(sum));
    put(26, source as u16);
    put(28, (source >> 16) as u16);
    put(30, destination as u16);
    put(32, (destination >> 16) as u16);
    let (source_port, destination_port) = (flow.source_port.to_wire(), flow.destination_port.to_wire());
    let pseudo = addresses + (UDP as u16).to_be() as u32 + 2 * udp_length.to_be() as u32;
    put(34, source_port);
    put(36, destination_port);
    put(38, udp_length.to_be());
    put(40, !checksum::fold(pseudo + source_port as u32 + destination_port as u32));
    for offset in (42..FRAME).step_by(2) {
        put(offset, 0);
    }
    xdp_action::XDP_TX
}

/// Counts the packets of workloads, and drops them.
#[classifier]
pub fn sink(ctx: TcContext) -> i32 {
    let mut addresses = [0u32; 2];
    // SAFETY: the buffer is as long as said.
    let loaded = unsafe {
        bpf_skb_load_bytes(
            ctx.as_ptr().cast(),
            SOURCE as u32,
            addresses.as_mut_ptr().cast(),
            size_of_val(&addresses) as u32,
        )
    };
    if loaded == 0 && count(addresses) { TC_ACT_SHOT } else { TC_ACT_UNSPEC }
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
    let address = |offset: usize| word(offset) | word(offset + 2) << 16;
    if count([address(SOURCE), address(SOURCE + 4)]) { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

/// Whether a packet with this source and destination is of the workload; then it is counted.
#[inline(always)]
fn count([source, destination]: [u32; 2]) -> bool {
    let (Some(workload), Some(received)) = (WORKLOAD.get(0), RECEIVED.get_ptr_mut(0)) else { return false };
    let Some(expected) = workload.is_expected(source, destination) else { return false };
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
