//! Writing what a path says into plain frames, at whichever hook.

use aya_ebpf::{
    bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR},
    helpers::generated::{bpf_csum_update, bpf_l4_csum_replace},
};
use natbpf_common::{
    path::{
        cell::{Change, Exit, Path},
        family::Repeatable,
        key::PathKey,
        sums::{self, Sums},
    },
    wire::{
        family::{V4, V6},
        headers::{Headers, Kind},
        protocol::{TCP, UDP},
    },
};
use network_types::{eth::EthHdr, tcp::TcpHdr, udp::UdpHdr};

use super::{skb::Skb, xdp::Frame};

/// Bytes of a transport header in which ports, identifiers, and the checksums of UDP and ICMP are.
const PORTS: usize = 8;

/// A family whose headers are written.
pub trait Written: Repeatable {
    /// Whether the IP header has no checksum of its own, which would cancel a change of addresses in the sum of the
    /// whole packet.
    const UNCHECKED: bool;

    /// Writes addresses and time to live into the IP header that begins here.
    ///
    /// # Safety
    /// The header has to be writable, and the verifier has to have seen the check.
    unsafe fn write(header: *mut u8, headers: &Headers<Self>, change: &Change<Self>, hops: u8);
}

#[inline(always)]
unsafe fn word(header: *mut u8, at: usize, value: u32) {
    // SAFETY: the caller's. Volatile, or LLVM would write byte by byte: the packet may stand at odd addresses.
    unsafe { header.add(at).cast::<u32>().write_volatile(value) }
}

impl Written for V4 {
    const UNCHECKED: bool = false;

    #[inline(always)]
    unsafe fn write(header: *mut u8, headers: &Headers, change: &Change, hops: u8) {
        // Time to live and protocol are one word of the sum. Row F01.
        let old = u16::from_ne_bytes([headers.time_to_live, headers.protocol]);
        let new = u16::from_ne_bytes([headers.time_to_live - hops, headers.protocol]);
        let moved = sums::difference(&[old as u32 | 0xffff_0000], &[new as u32]);
        let sum = sums::replaced(sums::replaced(headers.checksum, change.sums.addresses), moved);
        // SAFETY: the caller's.
        unsafe {
            word(header, 8, new as u32 | (sum as u32) << 16);
            word(header, 12, change.source.to_wire());
            word(header, 16, change.destination.to_wire());
        }
    }
}

impl Written for V6 {
    const UNCHECKED: bool = true;

    #[inline(always)]
    unsafe fn write(header: *mut u8, headers: &Headers<Self>, change: &Change<Self>, hops: u8) {
        let ([a, b, c, d], [e, f, g, h]) = (change.source.to_wire(), change.destination.to_wire());
        // SAFETY: the caller's.
        unsafe {
            header.add(7).write_volatile(headers.time_to_live - hops);
            word(header, 8, a);
            word(header, 12, b);
            word(header, 16, c);
            word(header, 20, d);
            word(header, 24, e);
            word(header, 28, f);
            word(header, 32, g);
            word(header, 36, h);
        }
    }
}

/// Where the checksum of a protocol is, from its header on.
struct Checksum {
    at: usize,
    /// The pseudo header is part of it.
    covers: bool,
    /// UDP: zero says that there is none.
    zero_is_none: bool,
}

#[inline(always)]
fn checksum<F: Repeatable>(protocol: u8) -> Option<Checksum> {
    match protocol {
        TCP => Some(Checksum { at: 16, covers: true, zero_is_none: false }),
        UDP => Some(Checksum { at: 6, covers: true, zero_is_none: true }),
        icmp if icmp == F::ICMP => {
            Some(Checksum { at: 2, covers: F::ICMP_HAS_ADDRESSES, zero_is_none: false })
        }
        _ => None,
    }
}

/// The identifier of an ICMP query, whichever end has it; of others both ports.
#[inline(always)]
fn identifier<F: Repeatable>(headers: &Headers<F>, change: &Change<F>) -> u16 {
    if headers.is(Kind::IcmpReply) { change.destination_port.to_wire() } else { change.source_port.to_wire() }
}

impl Skb<'_> {
    /// Does to a packet what its path says. After an error it may be half changed and must not go on. The checksum is
    /// written by helpers, which know its state, the rest in place.
    #[inline(always)]
    pub fn follow<F: Written>(&mut self, headers: &Headers<F>, path: &Path<F>) -> Result<(), ()> {
        let Path { key, change, exit, hops, .. } = path;
        let hops = *hops;
        let moved = key.source != change.source || key.destination != change.destination;
        let ports = key.ports() != change.ports();
        let checksum = checksum::<F>(headers.protocol);
        if let Some(checksum) = &checksum {
            let at = F::TRANSPORT as u32 + checksum.at as u32;
            let mangled = if checksum.zero_is_none { BPF_F_MARK_MANGLED_0 as u64 } else { 0 };
            if moved && checksum.covers {
                self.add_to_checksum(at, change.sums.addresses, mangled | BPF_F_PSEUDO_HDR as u64)?;
            }
            if ports {
                // A call of its own: a partial checksum covers the pseudo header and not the ports. Row X01.
                self.add_to_checksum(at, change.sums.ports, mangled)?;
            }
        }
        if F::UNCHECKED {
            self.mend_sum(headers, change, hops, moved && checksum.is_some());
        }
        let (data, end) = self.bounds();
        // For the verifier, which forgets all bounds over a helper.
        if data + F::TRANSPORT + if ports { PORTS } else { 0 } > end {
            return Err(());
        }
        let frame = data as *mut u8;
        // SAFETY: checked just now.
        unsafe {
            if ports {
                let transport = frame.add(F::TRANSPORT);
                if headers.protocol == F::ICMP {
                    transport.add(4).cast::<u16>().write_volatile(identifier(headers, change));
                } else {
                    word(transport, 0, change.ports());
                }
            }
            F::write(frame.add(EthHdr::LEN), headers, change, hops);
            ethernet(frame, exit);
        }
        self.set_fwmark(exit.mark);
        self.set_priority(exit.priority);
        self.set_tag(exit.vlan)
    }

    #[inline(always)]
    fn add_to_checksum(&mut self, at: u32, difference: u16, flags: u64) -> Result<(), ()> {
        // SAFETY: the helper checks the offset.
        let result = unsafe { bpf_l4_csum_replace(self.raw(), at, 0, difference as u64, flags) };
        if result == 0 { Ok(()) } else { Err(()) }
    }

    /// Keeps the sum right that a device has made of the whole packet (`CHECKSUM_COMPLETE`), where the IP header has no
    /// checksum: the helper above takes it that a change of addresses is cancelled there.
    #[inline(always)]
    fn mend_sum<F: Written>(&mut self, headers: &Headers<F>, change: &Change<F>, hops: u8, moved: bool) {
        let old = u16::from_ne_bytes([headers.protocol, headers.time_to_live]);
        let new = u16::from_ne_bytes([headers.protocol, headers.time_to_live - hops]);
        let hop = sums::difference(&[old as u32 | 0xffff_0000], &[new as u32]) as u32;
        let addresses = if moved { change.sums.addresses as u32 } else { 0 };
        if hop + addresses != 0 {
            // SAFETY: refused where there is no such sum, and then nothing is to be done.
            unsafe { bpf_csum_update(self.raw(), hop + addresses) };
        }
    }
}

/// Writes the Ethernet addresses.
///
/// # Safety
/// As [`Written::write`].
#[inline(always)]
unsafe fn ethernet(frame: *mut u8, exit: &Exit) {
    // SAFETY: the caller's.
    unsafe {
        word(frame, 0, exit.ethernet[0]);
        word(frame, 4, exit.ethernet[1]);
        word(frame, 8, exit.ethernet[2]);
    }
}

impl Frame<'_> {
    /// As [`Skb::follow`], but for the tag, which [`Frame::retag`] has given it. `None`: it may be half changed and
    /// must not go on.
    #[inline(always)]
    pub fn follow<F: Written>(&mut self, headers: &Headers<F>, path: &Path<F>) -> Option<()> {
        let Path { key, change, exit, hops, .. } = path;
        let hops = *hops;
        let same = key.source == change.source
            && key.destination == change.destination
            && key.ports() == change.ports();
        if !same {
            match headers.protocol {
                TCP => self.write_transport::<F, 16, { TcpHdr::LEN }>(headers, key, change)?,
                UDP => self.write_transport::<F, 6, { UdpHdr::LEN }>(headers, key, change)?,
                icmp if icmp == F::ICMP => self.write_transport::<F, 2, PORTS>(headers, key, change)?,
                _ => {}
            }
        }
        let frame = self.network(F::TRANSPORT - EthHdr::LEN)?;
        // SAFETY: checked just now.
        unsafe { F::write(frame, headers, change, hops) };
        let start = self.start::<{ EthHdr::LEN }>()?;
        // SAFETY: checked just now.
        unsafe { ethernet(start, exit) };
        Some(())
    }

    #[inline(always)]
    fn write_transport<F: Written, const CHECKSUM: usize, const LENGTH: usize>(
        &mut self,
        headers: &Headers<F>,
        key: &PathKey<F>,
        change: &Change<F>,
    ) -> Option<()> {
        let transport = self.network(F::TRANSPORT - EthHdr::LEN + LENGTH)?;
        let Sums { addresses, ports } = change.sums;
        // SAFETY: checked just now.
        unsafe {
            let transport = transport.add(F::TRANSPORT - EthHdr::LEN);
            let at = transport.add(CHECKSUM).cast::<u16>();
            let mut sum = at.read_volatile();
            // Zero says that there is none.
            let is_udp = CHECKSUM == 6;
            if !(is_udp && sum == 0) {
                // What is not changed must not make 0 of 0xffff, which is as good: the kernel does not touch it.
                let moved = key.source != change.source || key.destination != change.destination;
                if moved && (CHECKSUM != 2 || F::ICMP_HAS_ADDRESSES) {
                    sum = sums::replaced(sum, addresses);
                }
                if key.ports() != change.ports() {
                    sum = sums::replaced(sum, ports);
                }
                at.write_volatile(if is_udp && sum == 0 { u16::MAX } else { sum });
            }
            if CHECKSUM == 2 {
                transport.add(4).cast::<u16>().write_volatile(identifier(headers, change));
            } else {
                word(transport, 0, change.ports());
            }
        }
        Some(())
    }
}
