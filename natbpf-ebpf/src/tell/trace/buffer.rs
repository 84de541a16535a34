//! Packets at both kinds of hooks, for looking alone.

use aya_ebpf::{
    bindings::{bpf_hdr_start_off, xdp_md},
    helpers::generated::{
        bpf_skb_load_bytes, bpf_skb_load_bytes_relative, bpf_xdp_get_buff_len, bpf_xdp_load_bytes,
    },
};
use natbpf_common::{IfIndex, contract::trace::Sight, wire::packet::Packet as _};
use network_types::eth::EthHdr;
use zerocopy::FromBytes;

use crate::packet::{arriving::Arriving as _, skb::Skb};

/// Where an Ethernet header says what follows.
const ETHER_TYPE: u32 = EthHdr::LEN as u32 - 2;

pub trait Buffer {
    /// What is known of the packet without looking into it.
    fn describe(&self, sight: &mut Sight);

    /// Copies bytes from its beginning; the verifier has to know how many.
    fn head(&self, to: *mut u8, length: u32) -> bool;

    /// EtherType of what it carries, as on the wire, and where that begins; it may be a tag.
    fn network(&self) -> (u16, u32);

    /// Copies bytes, so many behind what begins there.
    fn load<T: FromBytes>(&self, network: u32, offset: u32) -> Option<T>;
}

impl Buffer for Skb<'_> {
    #[inline(always)]
    fn describe(&self, sight: &mut Sight) {
        sight.interface = self.interface();
        sight.length = self.length();
        // As numbers are written: its protocol stands in the order of the wire.
        let tag = self.vlan();
        sight.tag = (u16::from_be((tag >> 16) as u16) as u32) << 16 | tag & 0xffff;
        // SAFETY: the context is valid while the program runs.
        unsafe {
            sight.gso_size = (*self.raw()).gso_size;
            sight.gso_segments = if sight.gso_size == 0 { 0 } else { (*self.raw()).gso_segs };
        }
    }

    #[inline(always)]
    fn head(&self, to: *mut u8, length: u32) -> bool {
        // SAFETY: the verifier checks the length.
        unsafe { bpf_skb_load_bytes(self.raw().cast(), 0, to.cast(), length) == 0 }
    }

    #[inline(always)]
    fn network(&self) -> (u16, u32) {
        // SAFETY: the context is valid while the program runs.
        (unsafe { (*self.raw()).protocol } as u16, 0)
    }

    #[inline(always)]
    fn load<T: FromBytes>(&self, network: u32, offset: u32) -> Option<T> {
        let mut value = T::new_zeroed();
        // SAFETY: the value is as long as said.
        let result = unsafe {
            bpf_skb_load_bytes_relative(
                self.raw().cast(),
                network + offset,
                (&raw mut value).cast(),
                size_of::<T>() as u32,
                bpf_hdr_start_off::BPF_HDR_START_NET,
            )
        };
        if result == 0 { Some(value) } else { None }
    }
}

/// A frame as the driver has it.
pub struct Frame(pub *mut xdp_md);

impl Frame {
    #[inline(always)]
    fn at<T: FromBytes>(&self, offset: u32) -> Option<T> {
        let mut value = T::new_zeroed();
        // SAFETY: the value is as long as said.
        let result =
            unsafe { bpf_xdp_load_bytes(self.0, offset, (&raw mut value).cast(), size_of::<T>() as u32) };
        if result == 0 { Some(value) } else { None }
    }
}

impl Buffer for Frame {
    #[inline(always)]
    fn describe(&self, sight: &mut Sight) {
        // SAFETY: the context is valid while the program runs.
        unsafe {
            sight.interface = IfIndex::new((*self.0).ingress_ifindex);
            sight.length = bpf_xdp_get_buff_len(self.0) as u32;
        }
        (sight.tag, sight.gso_size, sight.gso_segments) = (0, 0, 0);
    }

    #[inline(always)]
    fn head(&self, to: *mut u8, length: u32) -> bool {
        // SAFETY: the verifier checks the length.
        unsafe { bpf_xdp_load_bytes(self.0, 0, to.cast(), length) == 0 }
    }

    #[inline(always)]
    fn network(&self) -> (u16, u32) {
        (self.at(ETHER_TYPE).unwrap_or_default(), EthHdr::LEN as u32)
    }

    #[inline(always)]
    fn load<T: FromBytes>(&self, network: u32, offset: u32) -> Option<T> {
        self.at(network + offset)
    }
}
