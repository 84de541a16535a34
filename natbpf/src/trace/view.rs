//! One packet at one hook, as all forms of output show it.

use std::{
    mem,
    time::{Duration, SystemTime},
};

use natbpf_common::{
    IfIndex,
    contract::{counter::Counter, trace::Spot},
};

use super::{
    packet::Packet,
    verdict::{Verdict, counted},
};
use crate::datapath::Seen;

/// Length of the addresses of an Ethernet header, behind which a tag stands.
const ADDRESSES: usize = 12;

/// A packet before or after a program.
#[derive(Clone, Debug)]
pub struct View {
    /// Without its bytes, which are in `frame`.
    pub seen: Seen,
    pub time: SystemTime,
    pub device: String,
    /// The first bytes as they are on the wire: a tag that the kernel keeps beside the packet stands in its place.
    pub frame: Vec<u8>,
    /// Whether it begins with an Ethernet header.
    pub is_ethernet: bool,
    /// Bytes of the whole frame.
    pub length: u32,
    /// `None`: it is no IP.
    pub packet: Option<Packet>,
    /// After the program.
    pub verdict: Option<Verdict>,
    /// The device that it goes to, where the kernel tells.
    pub target: Option<String>,
}

impl View {
    /// `booted`: when the datapath's clock began; `name`: that of a device; `is_ethernet`: whether its packets begin
    /// with an Ethernet header.
    pub fn new(
        mut seen: Seen,
        booted: SystemTime,
        name: impl Fn(IfIndex) -> String,
        is_ethernet: impl Fn(IfIndex) -> bool,
    ) -> Self {
        let sight = seen.sight;
        let is_ethernet = is_ethernet(sight.interface);
        let (mut frame, mut length) = (mem::take(&mut seen.bytes), sight.length);
        if is_ethernet && sight.tag != 0 {
            length += 4;
            if frame.len() >= ADDRESSES {
                frame.splice(ADDRESSES..ADDRESSES, sight.tag.to_be_bytes());
            }
        }
        let verdict = (sight.after != 0).then(|| Verdict::of(&sight, seen.spot == Spot::EdgeXdp));
        let target = verdict.filter(|verdict| verdict.is_redirected() && !sight.target.is_none());
        Self {
            time: booted + Duration::from_nanos(sight.time.number()),
            device: name(sight.interface),
            packet: Packet::read(&frame, is_ethernet),
            target: target.map(|_| name(sight.target)),
            seen,
            frame,
            is_ethernet,
            length,
            verdict,
        }
    }

    pub const fn stage(&self) -> &'static str {
        if self.verdict.is_some() { "after" } else { "before" }
    }

    pub const fn spot(&self) -> Spot {
        self.seen.spot
    }

    /// Payload of each segment that the packet stands for, and how many those are, which the kernel does not count in
    /// packets of a virtual machine; `None`: it stands for itself.
    pub fn segments(&self) -> Option<(u32, Option<u32>)> {
        let sight = &self.seen.sight;
        let counted = (sight.gso_segments != 0).then_some(sight.gso_segments);
        (sight.gso_size != 0).then_some((sight.gso_size, counted))
    }

    /// `16 segments of 1448 bytes`; empty: it stands for itself.
    pub fn segmented(&self) -> String {
        match self.segments() {
            None => String::new(),
            Some((size, None)) => format!(", segments of {size} bytes"),
            Some((size, Some(count))) => format!(", {count} segments of {size} bytes"),
        }
    }

    /// The number of the network that the tag names.
    pub const fn vlan(&self) -> Option<u16> {
        match self.seen.sight.tag {
            0 => None,
            tag => Some(tag as u16 & 0xfff),
        }
    }

    /// `repeated to eth0 (packets_repeated, egress_packets)`; `None`: it is before the program.
    pub fn outcome(&self) -> Option<String> {
        let verdict = self.verdict?;
        let target = self.target.as_ref().map(|target| format!(" to {target}")).unwrap_or_default();
        let counted: Vec<_> = counted(&self.seen.sight).map(Counter::name).collect();
        let counted = if counted.is_empty() { String::new() } else { format!(" ({})", counted.join(", ")) };
        Some(format!("{verdict}{target}{counted}"))
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use natbpf_common::{Timestamp, contract::trace::Sight};

    use super::*;

    #[test]
    fn a_tag_stands_in_the_frame_again_and_the_verdict_names_the_device() {
        let mut bytes = Vec::new();
        let packet = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([10, 0, 0, 11], [203, 0, 113, 10], 64);
        packet.udp(5000, 80).write(&mut bytes, b"data").unwrap();
        let sight = Sight {
            time: Timestamp::new(1_500_000_000),
            length: bytes.len() as u32,
            captured: bytes.len() as u32,
            tag: 0x8100_0005,
            interface: IfIndex::new(3),
            target: IfIndex::new(4),
            after: 1,
            verdict: 7,
            counted: 1 << Counter::PacketsRepeated as u32,
            ..Sight::default()
        };
        let seen = Seen { spot: Spot::EdgeIngress, sight, bytes: bytes.clone() };
        let view = View::new(seen, SystemTime::UNIX_EPOCH, |index| format!("dev{index}"), |_| true);
        assert_eq!(view.frame[12..16], [0x81, 0, 0, 5]);
        assert_eq!((view.frame.len(), view.length as usize), (bytes.len() + 4, bytes.len() + 4));
        assert_eq!((view.device.as_str(), view.vlan()), ("dev3", Some(5)));
        assert_eq!(view.outcome().unwrap(), "repeated to dev4 (packets_repeated)");
        assert_eq!(view.segmented(), "");
        assert_eq!(view.packet.unwrap().to_string(), "udp 10.0.0.11:5000 > 203.0.113.10:80");
        assert_eq!(view.time, SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
    }

    #[test]
    fn segments_of_a_virtual_machine_are_not_counted() {
        let view = |gso_segments| {
            let sight = Sight { gso_size: 1448, gso_segments, ..Sight::default() };
            let seen = Seen { spot: Spot::EdgeIngress, sight, bytes: Vec::new() };
            View::new(seen, SystemTime::UNIX_EPOCH, |_| String::new(), |_| true)
        };
        assert_eq!(view(2).segmented(), ", 2 segments of 1448 bytes");
        assert_eq!(view(0).segmented(), ", segments of 1448 bytes");
        assert_eq!(view(0).segments(), Some((1448, None)));
    }
}
