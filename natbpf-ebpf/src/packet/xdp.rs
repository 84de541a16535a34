//! Packets at XDP hooks: read and written in place. Only what is offloaded is touched; everything else goes
//! on to the stack.

use aya_ebpf::{bindings::xdp_action, helpers::generated::bpf_xdp_adjust_head, programs::XdpContext};
use natbpf_common::{
    IfIndex,
    wire::packet::{Packet, View},
};
use network_types::{
    eth::{EthHdr, EtherType},
    vlan::VlanHdr,
};

use crate::{kernel::branchless, memory::maps::XDP_TARGETS, packet::arriving::Arriving};

/// A frame as the driver has it.
pub struct Frame<'a> {
    context: &'a XdpContext,
    /// The tag in the frame, protocol and TCI; 0: none.
    tag: u32,
    /// Length of the tag.
    shift: usize,
}

impl<'a> Frame<'a> {
    #[inline(always)]
    pub const fn new(context: &'a XdpContext) -> Self {
        Self { context, tag: 0, shift: 0 }
    }

    /// With the tag taken for beside the frame, as it is at TC: what comes behind it is read and written as if it were
    /// not there.
    #[inline(always)]
    pub fn behind_tag(context: &'a XdpContext) -> Self {
        let mut frame = Self::new(context);
        if let Some(view) = frame.view::<{ EthHdr::LEN + VlanHdr::LEN }>(0) {
            let protocol = view.u16::<12>();
            if protocol == EtherType::Ieee8021q as u16 || protocol == EtherType::Ieee8021ad as u16 {
                frame.tag = (protocol as u32) << 16 | u16::from_be(view.u16::<14>()) as u32;
                frame.shift = VlanHdr::LEN;
            }
        }
        frame
    }

    /// The EtherType of what is behind the tag, as it stands there.
    #[inline(always)]
    pub fn ether_type(&self) -> Option<u16> {
        Some(self.view::<{ EthHdr::LEN }>(0)?.u16::<12>())
    }

    /// From the network header on, so many bytes.
    #[inline(always)]
    pub fn network(&self, length: usize) -> Option<*mut u8> {
        let (start, end) = self.bounds();
        let network = start + self.shift + EthHdr::LEN;
        if network + length > end { None } else { Some(network as *mut u8) }
    }

    /// Gives the frame this tag, or none, in the place of what it has; the Ethernet addresses are lost. `None`: nothing
    /// was done, or nothing can be.
    #[inline(always)]
    pub fn retag(&mut self, tag: u32) -> Option<()> {
        if tag == self.tag {
            return Some(());
        }
        let length = if tag == 0 { 0 } else { VlanHdr::LEN };
        if length != self.shift {
            // SAFETY: the context is valid while the program runs.
            let result = unsafe { bpf_xdp_adjust_head(self.context.ctx, self.shift as i32 - length as i32) };
            if result != 0 {
                return None;
            }
            self.shift = length;
        }
        if tag != 0 {
            let start = self.start::<{ EthHdr::LEN + VlanHdr::LEN }>()?;
            // SAFETY: checked just now.
            unsafe {
                start.add(12).cast::<u16>().write_volatile((tag >> 16) as u16);
                start.add(14).cast::<u16>().write_volatile((tag as u16).to_be());
            }
        }
        self.tag = tag;
        Some(())
    }

    /// The first `LENGTH` bytes.
    #[inline(always)]
    pub fn start<const LENGTH: usize>(&self) -> Option<*mut u8> {
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
        // Or LLVM would subtract from one of them with 32 bits, which the verifier lets nobody do with a pointer.
        (branchless::opaque((end - start) as u64) - self.shift as u64) as u32
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
        let start = start + self.shift + offset as usize;
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
    fn ethernet(&self) -> Option<[u32; 3]> {
        let start = self.start::<12>()?;
        // SAFETY: checked just now.
        let view = unsafe { View::<12>::new(start) };
        Some([view.u32::<0>(), view.u32::<4>(), view.u32::<8>()])
    }

    #[inline(always)]
    fn vlan(&self) -> u32 {
        self.tag
    }

    #[inline(always)]
    fn gso_size(&self) -> u32 {
        0
    }
}
