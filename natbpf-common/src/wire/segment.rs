//! Segments of TCP: their flags, and what these say.

/// The sender has sent its last byte (RFC 9293, section 3.1).
pub const FIN: u8 = 0x01;
/// The sender begins: its sequence number.
pub const SYN: u8 = 0x02;
/// The connection is over.
pub const RST: u8 = 0x04;
/// The segment carries data for the receiver at once.
pub const PSH: u8 = 0x08;
/// The acknowledgement number counts.
pub const ACK: u8 = 0x10;
/// The urgent pointer counts.
pub const URG: u8 = 0x20;

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
pub const fn event(flags: u8) -> Option<Event> {
    const SYN_ACK: u8 = SYN | ACK;
    const RST_ACK: u8 = RST | ACK;
    const FIN_ACK: u8 = FIN | ACK;
    let urgent = flags & URG != 0;
    match flags & (FIN | SYN | RST | ACK) {
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
pub const fn plausible(flags: u8) -> bool {
    PLAUSIBLE >> place(flags) & 1 != 0
}

/// URG, ACK, RST, SYN and FIN as a number of five bits.
#[inline(always)]
const fn place(flags: u8) -> u32 {
    (flags & (FIN | SYN | RST) | flags >> 1 & (ACK | URG) >> 1) as u32
}

/// The sets of flags that have an [`event`], a bit each.
const PLAUSIBLE: u32 = {
    let (mut set, mut flags) = (0, 0u8);
    while flags < 64 {
        if event(flags).is_some() {
            set |= 1 << place(flags);
        }
        flags += 1;
    }
    set
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plausible_is_what_has_an_event() {
        for flags in 0..=u8::MAX {
            assert_eq!(plausible(flags), event(flags).is_some(), "{flags:#x}");
        }
    }
}
