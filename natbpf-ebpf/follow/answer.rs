//! Answers to a probe, where they leave the edge.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_ktime_get_ns, bpf_skb_load_bytes},
};
use natbpf_common::{
    contract::follow::{Part, Point, Sight},
    wire::protocol::ICMP,
};
use zerocopy::FromBytes;

use crate::{
    look::{IPV4, followed},
    maps::SIGHTS,
    packet::{FRAGMENTATION_NEEDED, Ip, QUOTING, ends},
};

const ETHERNET: u32 = 14;

/// Whether a packet on its way out of the edge is an answer to the probe, or an ICMP error about it; then it is told.
#[inline(always)]
pub fn is_answer(skb: *mut __sk_buff) -> bool {
    // SAFETY: the context is valid.
    if unsafe { (*skb).protocol } != IPV4 as u32 {
        return false;
    }
    answer(skb).is_some_and(|sight| {
        let _ = SIGHTS.output_untyped::<Sight>(sight, 0);
        true
    })
}

#[inline(always)]
fn load<T: FromBytes>(skb: *mut __sk_buff, offset: u32) -> Option<T> {
    let mut value = T::new_zeroed();
    // SAFETY: the buffer is as long as said, and any bytes are a value of the type.
    let loaded =
        unsafe { bpf_skb_load_bytes(skb.cast(), offset, (&raw mut value).cast(), size_of::<T>() as u32) };
    (loaded == 0).then_some(value)
}

#[inline(always)]
fn answer(skb: *mut __sk_buff) -> Option<Sight> {
    let ip: Ip = load(skb, ETHERNET)?;
    let next = ETHERNET + (ip.version as u32 & 0xf) * 4;
    let first: [u16; 4] = load(skb, next)?;
    let own = ends(&ip, first);
    let icmp = first[0].to_ne_bytes();
    let part = if ip.protocol == ICMP && QUOTING.contains(&icmp[0]) {
        let inner: Ip = load(skb, next + 8)?;
        let behind = load(skb, next + 8 + (inner.version as u32 & 0xf) * 4).unwrap_or_default();
        match followed(&ends(&inner, behind))? {
            Part::Original => Part::ErrorOfOriginal,
            _ => return None,
        }
    } else {
        match followed(&own)? {
            Part::Reply => Part::Reply,
            _ => return None,
        }
    };
    Some(Sight {
        // SAFETY: it has no conditions.
        time: unsafe { bpf_ktime_get_ns() },
        ends: own,
        point: Point::Answered as u32,
        part: part as u32,
        length: u16::from_be(ip.length) as u32,
        icmp: if ip.protocol == ICMP { u16::from_be_bytes(icmp) as u32 } else { 0 },
        mtu: if icmp == FRAGMENTATION_NEEDED { u16::from_be(first[3]) as u32 } else { 0 },
        time_to_live: ip.time_to_live as u32,
        ..Sight::default()
    })
}
