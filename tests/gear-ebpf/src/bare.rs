//! Limits for benchmarks to compare with: programs that send every IPv4 and IPv6 packet one way, with a new Ethernet
//! header and nothing else, and programs that do nothing.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::{TC_ACT_UNSPEC, xdp_action},
    btf_maps::{Array, DevMap},
    helpers::generated::{bpf_redirect, bpf_redirect_peer},
    macros::{btf_map, classifier, xdp},
    programs::{TcContext, XdpContext},
};
use natbpf_common::wire::protocol::ICMP6;
use natbpf_gear::Way;
use network_types::eth::EtherType;

#[btf_map]
static WAY: Array<Way, 1> = Array::new();

/// The device of [`WAY`] again, as XDP wants it.
#[btf_map]
static DEVICE: DevMap<1> = DevMap::new();

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// Offset of the protocol in a frame of IPv6.
const NEXT_HEADER: usize = 20;

/// Sends packets out of a device.
#[classifier]
pub fn redirect(ctx: TcContext) -> i32 {
    match address(ctx.data(), ctx.data_end()) {
        // SAFETY: no pointers are passed.
        Some(interface) => unsafe { bpf_redirect(interface, 0) as i32 },
        None => TC_ACT_UNSPEC,
    }
}

/// Hands packets to the other end of a veth device, as if they had arrived there.
#[classifier]
pub fn redirect_peer(ctx: TcContext) -> i32 {
    match address(ctx.data(), ctx.data_end()) {
        // SAFETY: no pointers are passed.
        Some(interface) => unsafe { bpf_redirect_peer(interface, 0) as i32 },
        None => TC_ACT_UNSPEC,
    }
}

/// Sends frames out of a device.
#[xdp]
pub fn redirect_xdp(ctx: XdpContext) -> u32 {
    match address(ctx.data(), ctx.data_end()) {
        Some(_) => DEVICE.redirect(0, xdp_action::XDP_ABORTED as u64).unwrap_or_else(|action| action),
        None => xdp_action::XDP_PASS,
    }
}

/// What calling any program at a TC hook costs.
#[classifier]
pub fn nothing(_: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// What calling any XDP program costs.
#[xdp]
pub fn nothing_xdp(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Writes the new Ethernet header of an IP packet to one host, but for its last two bytes; returns the device. Others
/// go the ordinary way, ARP and ICMPv6 too, by which neighbours are found.
#[inline(always)]
fn address(start: usize, end: usize) -> Option<u32> {
    if start + ETHERNET > end {
        return None;
    }
    let way = WAY.get(0)?;
    let words = start as *mut u16;
    // SAFETY: the frame is as long as checked, and two bytes may be accessed at any even offset.
    unsafe {
        let group = words.read_volatile().to_ne_bytes()[0] & 1 != 0;
        let ether_type = words.byte_add(12).read_volatile();
        let is_ip = if ether_type == EtherType::Ipv6 as u16 {
            start + NEXT_HEADER + 2 <= end
                && words.byte_add(NEXT_HEADER).read_volatile().to_ne_bytes()[0] != ICMP6
        } else {
            ether_type == EtherType::Ipv4 as u16
        };
        if group || !is_ip {
            return None;
        }
        for (place, word) in way.ethernet.iter().enumerate() {
            words.byte_add(2 * place).write_volatile(*word);
        }
    }
    Some(way.interface.number())
}

/// Never reached.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
