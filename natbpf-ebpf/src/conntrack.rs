//! What the kernel's conntrack has made of a packet.

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_probe_read_kernel};

/// Offset of `_nfct` in the kernel's `struct sk_buff`, which user space finds in the kernel's description of its types; 0: not known.
#[unsafe(no_mangle)]
static NFCT_OFFSET: u32 = 0;

/// Which way a packet goes within its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Conntrack has not looked at it.
    Unknown,
    /// As the one that began the connection.
    Original,
    /// Back. So the first packet has got through all rules: conntrack forgets what is dropped before that (`nf_conntrack_confirm`).
    Reply,
}

/// The lower bits of `_nfct` (`enum ip_conntrack_info`); the others are a pointer.
const INFO: u64 = 7;
const ESTABLISHED_REPLY: u64 = 3;
const RELATED_REPLY: u64 = 4;

/// Where there is no conntrack in the packet's network namespace, or this kernel does not tell, that is unknown.
#[inline(always)]
pub fn seen(skb: *mut __sk_buff) -> Seen {
    // SAFETY: a constant of the loaded program.
    let offset = unsafe { (&raw const NFCT_OFFSET).read_volatile() };
    if offset == 0 {
        return Seen::Unknown;
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
    match word & INFO {
        // Untracked ones have no pointer.
        _ if result != 0 || word & !INFO == 0 => Seen::Unknown,
        ESTABLISHED_REPLY | RELATED_REPLY => Seen::Reply,
        _ => Seen::Original,
    }
}
