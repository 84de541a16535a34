//! The fuzzer's bytes as a packet, and as the choices that a check has.

use natbpf_common::IfIndex;
use natbpf_common::wire::packet::{Packet, View};
use natbpf_common::{Address, Port};

/// Bytes before the packet.
pub const CHOICES: usize = 9;

/// A packet whose first bytes are in one piece, as in a socket buffer.
#[derive(Clone, Debug)]
pub struct Bytes {
    pub bytes: Vec<u8>,
    linear: usize,
    is_ipv4: bool,
    is_gso: bool,
}

impl Packet for Bytes {
    fn interface(&self) -> IfIndex {
        IfIndex::new(1)
    }

    fn length(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn is_ipv4(&self) -> bool {
        self.is_ipv4
    }

    fn is_ipv6(&self) -> bool {
        !self.is_ipv4
    }

    fn is_gso(&self) -> bool {
        self.is_gso
    }

    fn view<const LENGTH: usize>(&self, offset: u32) -> Option<View<LENGTH>> {
        let linear = &self.bytes[..self.linear];
        let view = linear.get(offset as usize..)?.get(..LENGTH)?;
        // SAFETY: so many bytes are there.
        Some(unsafe { View::new(view.as_ptr()) })
    }

    fn pull(&mut self, end: u32) -> Option<()> {
        assert!(end as usize <= self.bytes.len(), "bytes beyond the packet are asked for");
        self.linear = self.linear.max(end as usize);
        Some(())
    }
}

/// What the first bytes choose.
#[derive(Clone, Debug)]
pub struct Input {
    pub packet: Bytes,
    /// Length of the link layer header.
    pub link_header: u32,
    /// The checksum of the IPv4 header is made right first: no fuzzer guesses one.
    pub mend: bool,
    /// The destination changes, not the source.
    pub destination: bool,
    pub address: Address,
    pub port: Port,
}

impl Input {
    pub fn read(data: &[u8]) -> Option<Self> {
        let (choices, bytes) = data.split_at_checked(CHOICES)?;
        let flag = |bit: u8| choices[0] & 1 << bit != 0;
        let linear = usize::from(u16::from_be_bytes([choices[1], choices[2]])).min(bytes.len());
        Some(Self {
            packet: Bytes { bytes: bytes.to_vec(), linear, is_ipv4: !flag(2), is_gso: flag(1) },
            link_header: if flag(0) { 0 } else { 14 },
            mend: !flag(3),
            destination: flag(4),
            address: Address::from_wire(u32::from_ne_bytes([choices[3], choices[4], choices[5], choices[6]])),
            port: Port::from_wire(u16::from_ne_bytes([choices[7], choices[8]])),
        })
    }

    /// The same packet in one piece.
    pub fn linear(&self) -> Bytes {
        Bytes { linear: self.packet.bytes.len(), ..self.packet.clone() }
    }
}
