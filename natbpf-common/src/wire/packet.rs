//! What the flow engine asks of a packet, whatever the hook it comes by.

use core::fmt;

use bitflags::bitflags;

use crate::{
    interface::IfIndex,
    wire::{Address, Port, checksum},
};

/// Bytes of a packet that are known to be there.
pub struct View<const LENGTH: usize> {
    start: *const u8,
}

impl<const LENGTH: usize> fmt::Debug for View<LENGTH> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("length", &LENGTH).finish()
    }
}

/// Which end of the conversation a translation changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The end that the packet comes from.
    Source,
    /// The end that the packet goes to.
    Destination,
}

/// What a [`Translation`] touches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Touched(u16);

bitflags! {
    impl Touched: u16 {
        /// The destination changes, not the source.
        const DESTINATION = 1;
        /// The transport checksum covers the addresses.
        const PSEUDO_HEADER = 2;
        /// UDP: a checksum of zero says that there is none, and a sum of zero is sent as all ones. Row U29.
        const ZERO_IS_NONE = 4;
    }
}

/// One change to a packet. Plain numbers alone, since it is handed to a global function.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Translation {
    /// Offset of the IPv4 header in the packet.
    pub network: u32,
    /// Offset of the transport checksum; 0: there is none.
    pub checksum: u32,
    /// Offset of the port; 0: it stays.
    pub port: u32,
    /// Address that is replaced.
    pub old: Address,
    /// Address in its place.
    pub new: Address,
    /// The address that stays.
    pub other: Address,
    /// Port that is replaced, or identifier of an ICMP query.
    pub old_port: Port,
    /// Port in its place.
    pub new_port: Port,
    /// The IPv4 header checksum as it is.
    pub network_checksum: u16,
    /// Which end, and how the checksum is made.
    pub flags: Touched,
}

impl Translation {
    /// Whether one of the flags is set.
    #[inline(always)]
    pub const fn has(&self, flag: Touched) -> bool {
        self.flags.0 & flag.0 != 0
    }

    /// Source and destination afterwards.
    #[inline(always)]
    pub const fn addresses(&self) -> (Address, Address) {
        if self.has(Touched::DESTINATION) { (self.other, self.new) } else { (self.new, self.other) }
    }

    /// What a transport checksum becomes that is complete: not for buffers whose device will complete it. Row F06.
    #[inline(always)]
    pub const fn transport_checksum(&self, old: u16) -> u16 {
        let zero_is_none = self.has(Touched::ZERO_IS_NONE);
        if zero_is_none && old == 0 {
            return 0;
        }
        let mut new = old;
        if self.has(Touched::PSEUDO_HEADER) {
            new = checksum::replace_address(new, self.old, self.new);
        }
        if self.port != 0 {
            new = checksum::replace_half(new, self.old_port.to_wire(), self.new_port.to_wire());
        }
        if zero_is_none && new == 0 { u16::MAX } else { new }
    }
}

/// A packet at a hook.
pub trait Packet {
    /// Interface index of the device.
    fn interface(&self) -> IfIndex;

    /// Length from the link layer header on.
    fn length(&self) -> u32;

    /// Whether the device says that it is IPv4; for devices whose packets have no link layer header.
    fn is_ipv4(&self) -> bool;

    /// The same of IPv6. At a hook that follows no IPv6 there is none.
    #[inline(always)]
    fn is_ipv6(&self) -> bool {
        false
    }

    /// Whether it stands for several segments to be cut later.
    fn is_gso(&self) -> bool;

    /// The bytes at an offset, if they are in the linear part.
    fn view<const LENGTH: usize>(&self, offset: u32) -> Option<View<LENGTH>>;

    /// Brings bytes into the linear part, up to an offset within the packet.
    fn pull(&mut self, end: u32) -> Option<()>;
}

/// [`Packet::view`], after [`Packet::pull`] where that is needed. Row X04.
#[inline(always)]
pub fn view<P: Packet, const LENGTH: usize>(packet: &mut P, offset: u32) -> Option<View<LENGTH>> {
    if let Some(view) = packet.view(offset) {
        return Some(view);
    }
    let end = offset + LENGTH as u32;
    if end > packet.length() {
        return None;
    }
    packet.pull(end)?;
    packet.view(offset)
}

impl<const LENGTH: usize> View<LENGTH> {
    /// # Safety
    /// `LENGTH` bytes from `start` on have to be readable, and the verifier has to have seen the check.
    #[inline(always)]
    pub const unsafe fn new(start: *const u8) -> Self {
        Self { start }
    }

    /// The byte at an offset within the view.
    #[inline(always)]
    pub fn u8<const OFFSET: usize>(&self) -> u8 {
        const { assert!(OFFSET < LENGTH) };
        // SAFETY: inside the view.
        unsafe { self.start.add(OFFSET).read_volatile() }
    }

    /// Two bytes as a native integer.
    #[inline(always)]
    pub fn u16<const OFFSET: usize>(&self) -> u16 {
        const { assert!(OFFSET + 2 <= LENGTH) };
        // SAFETY: inside the view.
        unsafe { load(self.start.add(OFFSET)) }
    }

    /// Four bytes as a native integer.
    #[inline(always)]
    pub fn u32<const OFFSET: usize>(&self) -> u32 {
        const { assert!(OFFSET + 4 <= LENGTH) };
        // SAFETY: as in `u16`.
        unsafe { load(self.start.add(OFFSET)) }
    }
}

/// An integer that may stand anywhere.
///
/// # Safety
/// Its bytes have to be readable.
#[inline(always)]
unsafe fn load<T: Copy>(from: *const u8) -> T {
    let from = from.cast::<T>();
    // SAFETY: the caller's. On BPF a volatile read, because for an unaligned one LLVM loads each byte by itself; BPF's
    // packet loads need no alignment.
    unsafe { if cfg!(target_arch = "bpf") { from.read_volatile() } else { from.read_unaligned() } }
}
