//! Segments of TCP: their flags, and what these say.

use bitflags::bitflags;

/// The flags of a segment, as they stand in its header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct TcpFlags(u8);

bitflags! {
    impl TcpFlags: u8 {
        /// The sender has sent its last byte (RFC 9293, section 3.1).
        const FIN = 0x01;
        /// The sender begins: its sequence number.
        const SYN = 0x02;
        /// The connection is over.
        const RST = 0x04;
        /// The segment carries data for the receiver at once.
        const PSH = 0x08;
        /// The acknowledgement number counts.
        const ACK = 0x10;
        /// The urgent pointer counts.
        const URG = 0x20;
        /// Congestion was experienced (RFC 3168, section 6.1).
        const ECE = 0x40;
        /// The sender has reduced its congestion window (RFC 3168, section 6.1).
        const CWR = 0x80;
    }
}

impl TcpFlags {
    /// SYN, and no ACK: the sender begins a connection, and answers none.
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.bits() & SYN.union(ACK).bits() == SYN.bits()
    }
}

/// See [`TcpFlags::FIN`].
pub const FIN: TcpFlags = TcpFlags::FIN;
/// See [`TcpFlags::SYN`].
pub const SYN: TcpFlags = TcpFlags::SYN;
/// See [`TcpFlags::RST`].
pub const RST: TcpFlags = TcpFlags::RST;
/// See [`TcpFlags::PSH`].
pub const PSH: TcpFlags = TcpFlags::PSH;
/// See [`TcpFlags::ACK`].
pub const ACK: TcpFlags = TcpFlags::ACK;
/// See [`TcpFlags::URG`].
pub const URG: TcpFlags = TcpFlags::URG;

/// What the flags of a segment say to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// SYN alone.
    Syn,
    /// SYN and ACK.
    SynAck,
    /// FIN and ACK.
    Fin,
    /// ACK alone.
    Ack,
    /// RST, with or without ACK.
    Rst,
}

/// The event of a set of flags; `None` for sets that no TCP sends (`tcp_valid_flags`). PSH, ECE and CWR never
/// matter.
#[inline(always)]
pub const fn event(flags: TcpFlags) -> Option<Event> {
    const SYN_ACK: TcpFlags = SYN.union(ACK);
    const RST_ACK: TcpFlags = RST.union(ACK);
    const FIN_ACK: TcpFlags = FIN.union(ACK);
    let urgent = flags.intersects(URG);
    match flags.intersection(FIN.union(SYN).union(RST).union(ACK)) {
        SYN => Some(Event::Syn),
        SYN_ACK if !urgent => Some(Event::SynAck),
        RST | RST_ACK if !urgent => Some(Event::Rst),
        FIN_ACK => Some(Event::Fin),
        ACK => Some(Event::Ack),
        _ => None,
    }
}

/// Whether a TCP would send such a set of flags: one lookup of a bit, without branches.
#[inline(always)]
pub const fn plausible(flags: TcpFlags) -> bool {
    PLAUSIBLE >> place(flags) & 1 != 0
}

/// URG, ACK, RST, SYN and FIN as a number of five bits.
#[inline(always)]
const fn place(flags: TcpFlags) -> u32 {
    let low = flags.intersection(FIN.union(SYN).union(RST)).bits();
    (low | flags.bits() >> 1 & ACK.union(URG).bits() >> 1) as u32
}

/// The sets of flags that have an [`event`], a bit each.
const PLAUSIBLE: u32 = {
    let (mut set, mut bits) = (0, 0u8);
    while bits < 64 {
        let flags = TcpFlags::from_bits_retain(bits);
        if event(flags).is_some() {
            set |= 1 << place(flags);
        }
        bits += 1;
    }
    set
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plausible_is_what_has_an_event() {
        for bits in 0..=u8::MAX {
            let flags = TcpFlags::from_bits_retain(bits);
            assert_eq!(plausible(flags), event(flags).is_some(), "{flags:?}");
        }
    }
}
