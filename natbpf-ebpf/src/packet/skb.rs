//! Packets at TC hooks.
//!
//! They are read in place and written by helpers, which know the states of a socket buffer's checksum
//! (`CHECKSUM_PARTIAL`, `CHECKSUM_COMPLETE`). A program that writes in place makes the kernel copy the
//! headers of every cloned packet that passes, also of those that it leaves alone: so only the programs do it
//! where nearly everything is repeated.

use core::{ffi::c_void, marker::PhantomData};

use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR},
    helpers::generated::{
        bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_store_bytes, bpf_skb_vlan_pop,
        bpf_skb_vlan_push,
    },
    programs::TcContext,
};
use natbpf_common::{
    Address, IfIndex, Port,
    contract::counter::DropReason,
    flow::Rewrite,
    path::passage::Mark,
    wire::{
        checksum,
        headers::Headers,
        packet::{End, Packet, Touched, Translation, View},
    },
};

use crate::{kernel::global::global, packet::arriving::Arriving};

use network_types::eth::EtherType;
use zerocopy::FromBytes;

/// Offset of the header checksum in an IPv4 header. The source follows it, and the destination that.
const CHECKSUM: u32 = 10;

/// From linux/if_packet.h.
const PACKET_BROADCAST: u32 = 1;
const PACKET_MULTICAST: u32 = 2;
const PACKET_OTHERHOST: u32 = 3;

/// A socket buffer.
pub struct Skb<'a> {
    raw: *mut __sk_buff,
    context: PhantomData<&'a TcContext>,
}

impl<'a> Skb<'a> {
    #[inline(always)]
    pub fn new(context: &'a TcContext) -> Self {
        Self { raw: context.as_ptr().cast(), context: PhantomData }
    }

    /// From a context that a function was handed.
    #[inline(always)]
    pub const fn of(raw: *mut __sk_buff) -> Self {
        Self { raw, context: PhantomData }
    }

    /// For helpers that want the context.
    #[inline(always)]
    pub fn raw(&self) -> *mut __sk_buff {
        self.raw
    }

    /// A broadcast or multicast on the link.
    #[inline(always)]
    pub fn is_for_many(&self) -> bool {
        // SAFETY: the context is valid while the program runs.
        let packet_type = unsafe { (*self.raw).pkt_type };
        packet_type == PACKET_BROADCAST || packet_type == PACKET_MULTICAST
    }

    /// It is here only because the device takes what is for others, too: somebody captures. The stack drops
    /// it before anything else. Row F07.
    #[inline(always)]
    pub fn is_for_others(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.raw).pkt_type == PACKET_OTHERHOST }
    }

    /// The interface that a forwarded packet came in by; 0: the host made it.
    #[inline(always)]
    pub fn came_by(&self) -> IfIndex {
        // SAFETY: as above.
        IfIndex::new(unsafe { (*self.raw).ingress_ifindex })
    }

    /// What rules and filters have marked it with (`skb->mark`).
    #[inline(always)]
    pub fn fwmark(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.raw).mark }
    }

    #[inline(always)]
    pub fn priority(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.raw).priority }
    }

    #[inline(always)]
    pub fn mark(&self) -> Mark {
        // SAFETY: the context is valid while the program runs.
        Mark::from_tc_index(unsafe { (*self.raw).tc_index as u16 })
    }

    #[inline(always)]
    pub fn set_mark(&mut self, mark: Mark) {
        // SAFETY: as above.
        unsafe { (*self.raw).tc_index = mark.to_tc_index() as u32 };
    }

    /// Where the linear part begins and ends.
    ///
    /// Read anew each time, since helpers may have moved the data; volatile, or LLVM would keep the old value.
    #[inline(always)]
    pub fn bounds(&self) -> (usize, usize) {
        // SAFETY: the context is valid while the program runs.
        unsafe {
            (
                (&raw const (*self.raw).data).read_volatile() as usize,
                (&raw const (*self.raw).data_end).read_volatile() as usize,
            )
        }
    }

    /// Copies bytes, wherever in the buffer they are.
    #[inline(always)]
    pub fn load<T: FromBytes>(&self, offset: u32) -> Option<T> {
        let mut value = T::new_zeroed();
        // SAFETY: the value is as long as said.
        let result = unsafe {
            bpf_skb_load_bytes(self.raw.cast(), offset, (&raw mut value).cast(), size_of::<T>() as u32)
        };
        if result == 0 { Some(value) } else { None }
    }

    /// Gives one end of the packet a new address and port. After an error it may be half changed and must not go on.
    #[inline(always)]
    pub fn translate(&mut self, headers: &Headers, end: End, rewrite: Rewrite) -> Result<(), DropReason> {
        let destination = matches!(end, End::Destination) as u32;
        let outside_port = rewrite.outside_port.to_wire() as u32;
        let done = translate(self.raw, headers, destination, rewrite.to_word())
            && (outside_port == 0 || translate_outside(self.raw, headers, destination, outside_port));
        if done { Ok(()) } else { Err(DropReason::WriteFailed) }
    }

    #[inline(always)]
    pub fn store<T>(&mut self, offset: u32, bytes: &T) -> Result<(), ()> {
        // SAFETY: `bytes` is valid for its size.
        let result = unsafe {
            bpf_skb_store_bytes(self.raw, offset, core::ptr::from_ref(bytes).cast(), size_of::<T>() as u32, 0)
        };
        if result == 0 { Ok(()) } else { Err(()) }
    }

    /// Writes checksum and addresses of an IPv4 header. Their changes cancel in the checksum of the whole packet, so a
    /// plain store will do.
    #[inline(always)]
    pub fn store_network(
        &mut self,
        network: u32,
        sum: u16,
        source: Address,
        destination: Address,
    ) -> Result<(), DropReason> {
        let [a, b] = sum.to_ne_bytes();
        let [c, d, e, f] = source.to_wire().to_ne_bytes();
        let [g, h, i, j] = destination.to_wire().to_ne_bytes();
        self.store(network + CHECKSUM, &[a, b, c, d, e, f, g, h, i, j]).map_err(|()| DropReason::WriteFailed)
    }

    /// Puts a tag (802.1Q) into the metadata, in the place of what is there; 0: none.
    #[inline(always)]
    pub fn set_tag(&mut self, tag: u32) -> Result<(), ()> {
        let present = self.vlan();
        if present == tag {
            return Ok(());
        }
        // SAFETY: the context is valid while the program runs.
        unsafe {
            if present != 0 && bpf_skb_vlan_pop(self.raw) != 0 {
                return Err(());
            }
            if tag != 0 && bpf_skb_vlan_push(self.raw, (tag >> 16) as u16, tag as u16) != 0 {
                return Err(());
            }
        }
        Ok(())
    }

    /// For queueing disciplines and filters that choose by it.
    #[inline(always)]
    pub fn set_fwmark(&mut self, mark: u32) {
        // SAFETY: as above.
        unsafe { (*self.raw).mark = mark };
    }

    #[inline(always)]
    pub fn set_priority(&mut self, priority: u32) {
        // SAFETY: as above.
        unsafe { (*self.raw).priority = priority };
    }

    #[inline(always)]
    fn replace_checksum(&mut self, offset: u32, old: u64, new: u64, flags: u64) -> Result<(), ()> {
        // SAFETY: the helper checks the offset.
        let result = unsafe { bpf_l4_csum_replace(self.raw, offset, old, new, flags) };
        if result == 0 { Ok(()) } else { Err(()) }
    }
}

impl EbpfContext for Skb<'_> {
    #[inline(always)]
    fn as_ptr(&self) -> *mut c_void {
        self.raw.cast()
    }
}

impl Packet for Skb<'_> {
    #[inline(always)]
    fn interface(&self) -> IfIndex {
        // SAFETY: the context is valid while the program runs.
        IfIndex::new(unsafe { (*self.raw).ifindex })
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.raw).len }
    }

    #[inline(always)]
    fn is_ipv4(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.raw).protocol == EtherType::Ipv4 as u32 }
    }

    #[inline(always)]
    fn is_ipv6(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.raw).protocol == EtherType::Ipv6 as u32 }
    }

    #[inline(always)]
    fn is_gso(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.raw).gso_size > 0 }
    }

    #[inline(always)]
    fn view<const LENGTH: usize>(&self, offset: u32) -> Option<View<LENGTH>> {
        let (data, end) = self.bounds();
        let start = data + offset as usize;
        if start + LENGTH > end {
            return None;
        }
        // SAFETY: checked just now.
        Some(unsafe { View::new(start as *const u8) })
    }

    #[inline(always)]
    fn pull(&mut self, end: u32) -> Option<()> {
        // SAFETY: the helper checks the length.
        if unsafe { bpf_skb_pull_data(self.raw, end) } == 0 { Some(()) } else { None }
    }
}

impl Arriving for Skb<'_> {
    #[inline(always)]
    fn vlan(&self) -> u32 {
        // SAFETY: as above.
        unsafe {
            if (*self.raw).vlan_present == 0 {
                return 0;
            }
            (*self.raw).vlan_proto << 16 | (*self.raw).vlan_tci & 0xffff
        }
    }

    #[inline(always)]
    fn gso_size(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.raw).gso_size }
    }
}

global!(fn translate(skb: *mut __sk_buff, headers: &Headers, destination: u32, rewrite: u64) -> bool = translate_inner);

/// False: it may be half done.
#[inline(always)]
fn translate_inner(skb: *mut __sk_buff, headers: &Headers, destination: u32, rewrite: u64) -> bool {
    let end = if destination != 0 { End::Destination } else { End::Source };
    let rewrite = Rewrite::from_word(rewrite);
    let change = headers.translation(end, rewrite.address, rewrite.port);
    write_translation(&mut Skb::of(skb), &change).is_ok()
}

global!(fn translate_outside(skb: *mut __sk_buff, headers: &Headers, destination: u32, port: u32) -> bool = translate_outside_inner);

/// The port of the end that [`translate`] leaves alone.
#[inline(always)]
fn translate_outside_inner(skb: *mut __sk_buff, headers: &Headers, destination: u32, port: u32) -> bool {
    let port = Port::from_wire(port as u16);
    let change = if destination != 0 {
        headers.translation(End::Source, headers.source, port)
    } else {
        headers.translation(End::Destination, headers.destination, port)
    };
    write_transport(&mut Skb::of(skb), &change).is_ok()
}

#[inline(always)]
fn write_translation(skb: &mut Skb<'_>, change: &Translation) -> Result<(), ()> {
    write_transport(skb, change)?;
    // The change of the header's own checksum cancels the address's in the checksum of the whole packet, so
    // one plain store does for both.
    let new = change.new.to_wire();
    let header = checksum::replace_address(change.network_checksum, change.old, change.new).to_ne_bytes();
    let [a, b, c, d] = new.to_ne_bytes();
    if change.has(Touched::DESTINATION) {
        let [e, f, g, h] = change.other.to_wire().to_ne_bytes();
        skb.store(change.network + CHECKSUM, &[header[0], header[1], e, f, g, h, a, b, c, d])
    } else {
        skb.store(change.network + CHECKSUM, &[header[0], header[1], a, b, c, d])
    }
}

/// Everything but the IPv4 header. No payload is looked at. Row S16.
#[inline(always)]
fn write_transport(skb: &mut Skb<'_>, change: &Translation) -> Result<(), ()> {
    write_checksum(skb, change)?;
    if change.port != 0 {
        skb.store(change.port, &change.new_port.to_wire())?;
    }
    Ok(())
}

/// The transport checksum, in whatever state it is. Rows F06, T17.
#[inline(always)]
fn write_checksum(skb: &mut Skb<'_>, change: &Translation) -> Result<(), ()> {
    let (old, new) = (change.old.to_wire(), change.new.to_wire());
    if change.checksum != 0 {
        // Row U29.
        let mangled = if change.has(Touched::ZERO_IS_NONE) { BPF_F_MARK_MANGLED_0 as u64 } else { 0 };
        if change.has(Touched::PSEUDO_HEADER) {
            let flags = BPF_F_PSEUDO_HDR as u64 | mangled | size_of::<u32>() as u64;
            skb.replace_checksum(change.checksum, old as u64, new as u64, flags)?;
        }
        if change.port != 0 {
            // A call of its own: a partial checksum covers the pseudo header and not the ports. Row X01.
            let (old, new) = (change.old_port.to_wire() as u64, change.new_port.to_wire() as u64);
            skb.replace_checksum(change.checksum, old, new, mangled | size_of::<u16>() as u64)?;
        }
    }
    Ok(())
}
