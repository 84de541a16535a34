//! What the kernel's conntrack has made of a packet.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_probe_read_kernel};
use natbpf_common::{Nanoseconds, SECOND, contract::gauge::Gauge, time::Timestamp};

use crate::{kernel::clock, memory::gauges};

/// Offset of `_nfct` in the kernel's `struct sk_buff`, which user space finds in the kernel's description of
/// its types; 0: not known.
#[unsafe(no_mangle)]
static NFCT_OFFSET: u32 = 0;

/// Which way a packet goes within its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Conntrack is not at work, or is told to leave it alone.
    Unknown,
    /// It belongs to nothing that conntrack knows, and begins nothing (`INVALID`).
    Invalid,
    /// As the one that began the connection.
    Original,
    /// Back. So the first packet has got through all rules: conntrack forgets what is dropped before that
    /// (`nf_conntrack_confirm`).
    Reply,
}

/// The lower bits of `_nfct` (`enum ip_conntrack_info`); the others are a pointer.
const INFO: u64 = 7;
const ESTABLISHED_REPLY: u64 = 3;
const RELATED_REPLY: u64 = 4;

/// How long conntrack counts as being at work after it was seen to be.
const MEMORY: Nanoseconds = Nanoseconds::seconds(600);

/// Where there is no conntrack in the packet's network namespace, or this kernel does not tell, that is unknown.
#[inline(always)]
pub fn seen(skb: *mut __sk_buff) -> Seen {
    match word(skb) {
        0 if is_at_work() => Seen::Invalid,
        // Untracked ones have no pointer.
        word if word & !INFO == 0 => Seen::Unknown,
        word => match word & INFO {
            ESTABLISHED_REPLY | RELATED_REPLY => Seen::Reply,
            _ => Seen::Original,
        },
    }
}

fn is_at_work() -> bool {
    let last = gauges::read(Gauge::Conntrack);
    last != 0 && clock::now().since(Timestamp::new(last)) < MEMORY
}

/// Remembers that conntrack is at work, if it has looked at this packet. Not inlined, for its stack.
#[inline(never)]
pub fn note(skb: *mut __sk_buff) -> u32 {
    let now = clock::now();
    if now.since(Timestamp::new(gauges::read(Gauge::Conntrack))) > SECOND
        && word(skb) & !INFO != 0
        && let Some(last) = gauges::cell(Gauge::Conntrack)
    {
        last.store(now.number());
    }
    0
}

/// `_nfct` of the packet; 0: nothing is there, or this kernel does not tell.
#[inline(always)]
fn word(skb: *mut __sk_buff) -> u64 {
    // SAFETY: a constant of the loaded program.
    let offset = unsafe { (&raw const NFCT_OFFSET).read_volatile() };
    if offset == 0 {
        return 0;
    }
    let mut word = 0u64;
    // A program's context is the kernel's own buffer.
    // SAFETY: the helper reads any address, or says that it cannot.
    let result = unsafe {
        bpf_probe_read_kernel(
            (&raw mut word).cast(),
            size_of::<u64>() as u32,
            skb.cast::<u8>().add(offset as usize).cast(),
        )
    };
    if result == 0 { word } else { 0 }
}
