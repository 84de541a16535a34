//! Packets at XDP hooks: read and written in place. Only what is offloaded is touched; everything else goes
//! on to the stack.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use natbpf_common::{
    IfIndex,
    wire::{
        headers::Headers,
        packet::{Packet, Touched, View},
        protocol::Transport,
    },
};
use network_types::{icmp::Icmpv4Hdr, tcp::TcpHdr, udp::UdpHdr};

use crate::{
    memory::maps::XDP_TARGETS,
    packet::{
        arriving::Arriving,
        plain::{self, Change, Exit, TRANSPORT},
    },
};

/// A frame as the driver has it.
pub struct Frame<'a> {
    context: &'a XdpContext,
}

impl<'a> Frame<'a> {
    #[inline(always)]
    pub const fn new(context: &'a XdpContext) -> Self {
        Self { context }
    }

    /// The first `LENGTH` bytes.
    #[inline(always)]
    fn start<const LENGTH: usize>(&self) -> Option<*mut u8> {
        let (start, end) = self.bounds();
        if start + LENGTH > end { None } else { Some(start as *mut u8) }
    }

    /// Where the frame begins and ends, as the context has it.
    ///
    /// Read anew each time: the verifier knows a check only of the very value that was checked. By
    /// instructions of our own: the fields have 32 bits, and LLVM would keep 32 on the stack of what are
    /// pointers to the verifier.
    #[inline(always)]
    fn bounds(&self) -> (usize, usize) {
        let (start, end): (u64, u64);
        // SAFETY: the context is valid while the program runs; `data` is its first field, `data_end` the second.
        unsafe {
            core::arch::asm!(
                "{start} = *(u32 *)({context} + 0)",
                "{end} = *(u32 *)({context} + 4)",
                context = in(reg) self.context.ctx,
                start = out(reg) start,
                end = lateout(reg) end,
                options(nostack, readonly, preserves_flags),
            );
        }
        (start as usize, end as usize)
    }

    /// Changes a plain packet and gives it its Ethernet header. `None`: nothing was written.
    #[inline(always)]
    pub fn repeat(&mut self, headers: &Headers, change: &Change, exit: &Exit) -> Option<()> {
        match Transport::of(headers.protocol) {
            Transport::Tcp => {
                let frame = self.start::<{ TRANSPORT + TcpHdr::LEN }>()?;
                write_frame::<{ TRANSPORT + 16 }, TRANSPORT>(frame, headers, change, exit);
            }
            Transport::Udp => {
                let frame = self.start::<{ TRANSPORT + UdpHdr::LEN }>()?;
                write_frame::<{ TRANSPORT + 6 }, TRANSPORT>(frame, headers, change, exit);
            }
            Transport::Icmp => {
                let frame = self.start::<{ TRANSPORT + Icmpv4Hdr::LEN }>()?;
                // The identifier, whichever end has it.
                write_frame::<{ TRANSPORT + 2 }, { TRANSPORT + 4 }>(frame, headers, change, exit);
            }
            Transport::Other { .. } => return None,
        }
        Some(())
    }
}

/// Writes a plain packet whose headers are known to be there.
#[inline(always)]
fn write_frame<const CHECKSUM: usize, const PORT: usize>(
    frame: *mut u8,
    headers: &Headers,
    change: &Change,
    exit: &Exit,
) {
    let translation = change.translation(headers);
    // SAFETY: the caller has checked the bounds. Volatile as in `frame`.
    unsafe {
        if let Some(translation) = &translation {
            let half = |at: usize| frame.add(at).cast::<u16>();
            half(CHECKSUM).write_volatile(translation.transport_checksum(half(CHECKSUM).read_volatile()));
            if translation.port != 0 {
                let second = PORT == TRANSPORT && translation.has(Touched::DESTINATION);
                let at = if second { PORT + 2 } else { PORT };
                half(at).write_volatile(translation.new_port.to_wire());
            }
        }
        plain::write_headers(frame, headers, translation.as_ref(), change.hops, exit);
    }
}

/// Has the driver send the frame out of another interface, if that takes frames. False: it does not; nothing
/// has been done. Row X07.
#[inline(always)]
pub fn redirect(interface: IfIndex) -> bool {
    XDP_TARGETS.redirect(interface.number(), xdp_action::XDP_PASS as u64).is_ok()
}

impl Packet for Frame<'_> {
    #[inline(always)]
    fn interface(&self) -> IfIndex {
        // SAFETY: as above.
        IfIndex::new(unsafe { (*self.context.ctx).ingress_ifindex })
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        let (start, end) = self.bounds();
        (end - start) as u32
    }

    /// Only Ethernet has XDP here.
    #[inline(always)]
    fn is_ipv4(&self) -> bool {
        false
    }

    #[inline(always)]
    fn is_gso(&self) -> bool {
        false
    }

    #[inline(always)]
    fn view<const LENGTH: usize>(&self, offset: u32) -> Option<View<LENGTH>> {
        let (start, end) = self.bounds();
        let start = start + offset as usize;
        if start + LENGTH > end {
            return None;
        }
        // SAFETY: checked just now.
        Some(unsafe { View::new(start as *const u8) })
    }

    /// What is not there cannot be had.
    #[inline(always)]
    fn pull(&mut self, _end: u32) -> Option<()> {
        None
    }
}

impl Arriving for Frame<'_> {
    #[inline(always)]
    fn vlan(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn gso_size(&self) -> u32 {
        0
    }
}
