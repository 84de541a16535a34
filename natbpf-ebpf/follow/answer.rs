//! Answers to a probe, where they leave the edge.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_ktime_get_ns};
use natbpf_common::contract::follow::{Part, Point, Sight};

use crate::{
    look::followed,
    maps::SIGHTS,
    memory::Frame,
    packet::{IPV4, IPV6, seen},
};

const ETHERNET: u32 = 14;

/// Whether a packet on its way out of the edge is an answer to the probe, or an ICMP error about it; then it is told.
#[inline(always)]
pub fn is_answer(skb: *mut __sk_buff) -> bool {
    // SAFETY: the context is valid.
    let protocol = unsafe { (*skb).protocol } as u16;
    if protocol != IPV4 && protocol != IPV6 {
        return false;
    }
    answer(protocol, Frame { skb, at: ETHERNET }).is_some_and(|sight| {
        let _ = SIGHTS.output_untyped::<Sight>(sight, 0);
        true
    })
}

#[inline(always)]
fn answer(protocol: u16, frame: Frame) -> Option<Sight> {
    let seen = seen(protocol, frame)?;
    if seen.sender.is_some() {
        return None;
    }
    let part = match seen.quoted {
        Some(quoted) => match followed(&quoted)? {
            Part::Original => Part::ErrorOfOriginal,
            _ => return None,
        },
        None => match followed(&seen.ends)? {
            Part::Reply => Part::Reply,
            _ => return None,
        },
    };
    Some(Sight {
        // SAFETY: it has no conditions.
        time: unsafe { bpf_ktime_get_ns() },
        ends: seen.ends,
        point: Point::Answered as u32,
        part: part as u32,
        length: seen.length,
        icmp: u16::from_be_bytes(seen.icmp) as u32,
        mtu: seen.mtu,
        flags: seen.segment.0 as u32,
        sequence: seen.segment.1,
        time_to_live: seen.time_to_live as u32,
        ..Sight::default()
    })
}
