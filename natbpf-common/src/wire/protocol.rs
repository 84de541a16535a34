//! What the IP protocols have where: ports, checksums, ICMP types.

/// RFC 792.
pub const ICMP: u8 = 1;
/// RFC 9293.
pub const TCP: u8 = 6;
/// RFC 768.
pub const UDP: u8 = 17;
/// RFC 4340.
pub const DCCP: u8 = 33;
/// RFC 2784.
pub const GRE: u8 = 47;
/// RFC 4303.
pub const ESP: u8 = 50;
/// ICMPv6 (RFC 4443).
pub const ICMP6: u8 = 58;
/// RFC 9260.
pub const SCTP: u8 = 132;
/// RFC 3828.
pub const UDPLITE: u8 = 136;

/// ICMP message types (IANA "ICMP Type Numbers").
pub mod icmp {
    /// RFC 792.
    pub const ECHO_REPLY: u8 = 0;
    /// RFC 792.
    pub const DESTINATION_UNREACHABLE: u8 = 3;
    /// RFC 792; deprecated by RFC 6633.
    pub const SOURCE_QUENCH: u8 = 4;
    /// RFC 792.
    pub const REDIRECT: u8 = 5;
    /// RFC 792.
    pub const ECHO_REQUEST: u8 = 8;
    /// RFC 792.
    pub const TIME_EXCEEDED: u8 = 11;
    /// RFC 792.
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// RFC 792.
    pub const TIMESTAMP: u8 = 13;
    /// RFC 792.
    pub const TIMESTAMP_REPLY: u8 = 14;
    /// RFC 792; deprecated by RFC 6918.
    pub const INFO_REQUEST: u8 = 15;
    /// RFC 792; deprecated by RFC 6918.
    pub const INFO_REPLY: u8 = 16;
    /// RFC 950; deprecated by RFC 6918.
    pub const MASK_REQUEST: u8 = 17;
    /// RFC 950; deprecated by RFC 6918.
    pub const MASK_REPLY: u8 = 18;

    /// An ICMP message as a NAT sees it (RFC 5508, section 1.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Message {
        /// Asks something; this is its type.
        Request(u8),
        /// Answers a request of this type.
        Reply(u8),
        /// Tells the sender of a packet, which it quotes, what became of it (RFC 1122, section 3.2.2). Redirects are
        /// among these.
        Error,
        /// Everything else.
        Other,
    }

    /// Classifies by type, as `invmap` of the kernel's `nf_conntrack_proto_icmp.c`. Row I01.
    #[inline(always)]
    pub const fn classify(message_type: u8) -> Message {
        match message_type {
            ECHO_REQUEST | TIMESTAMP | INFO_REQUEST | MASK_REQUEST => Message::Request(message_type),
            ECHO_REPLY => Message::Reply(ECHO_REQUEST),
            TIMESTAMP_REPLY | INFO_REPLY | MASK_REPLY => Message::Reply(message_type - 1),
            DESTINATION_UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM => {
                Message::Error
            }
            // Row S37.
            _ => Message::Other,
        }
    }
}

/// ICMPv6 message types (RFC 4443; IANA "ICMPv6 Parameters").
pub mod icmp6 {
    use super::icmp::Message;

    /// RFC 4443, section 3.1.
    pub const DESTINATION_UNREACHABLE: u8 = 1;
    /// RFC 4443, section 3.2.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// RFC 4443, section 3.3.
    pub const TIME_EXCEEDED: u8 = 3;
    /// RFC 4443, section 3.4.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// RFC 4443, section 4.1.
    pub const ECHO_REQUEST: u8 = 128;
    /// RFC 4443, section 4.2.
    pub const ECHO_REPLY: u8 = 129;
    /// Neighbour discovery (RFC 4861), which is the link's own, ends with [`REDIRECT`].
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// RFC 4861, section 4.3.
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// RFC 4861, section 4.4.
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// It belongs to neighbour discovery, and so is no error about a packet as it is in IPv4.
    pub const REDIRECT: u8 = 137;

    /// Classifies by type, as `invmap` of the kernel's `nf_conntrack_proto_icmpv6.c`. Errors are only those that are
    /// defined: what else is below 128 may have anything where these have their quote.
    #[inline(always)]
    pub const fn classify(message_type: u8) -> Message {
        match message_type {
            ECHO_REQUEST => Message::Request(ECHO_REQUEST),
            ECHO_REPLY => Message::Reply(ECHO_REQUEST),
            DESTINATION_UNREACHABLE..=PARAMETER_PROBLEM => Message::Error,
            _ => Message::Other,
        }
    }
}

/// Extension headers of IPv6 that say what is behind them (RFC 8200, section 4.1), as `ipv6_ext_hdr` of the kernel's
/// `exthdrs_core.c`. ESP is none: it hides that. "No next header" (59) has nothing behind it.
pub mod extension {
    /// RFC 8200, section 4.3.
    pub const HOP_BY_HOP: u8 = 0;
    /// RFC 8200, section 4.4.
    pub const ROUTING: u8 = 43;
    /// RFC 8200, section 4.5.
    pub const FRAGMENT: u8 = 44;
    /// AH (RFC 4302).
    pub const AUTHENTICATION: u8 = 51;
    /// RFC 8200, section 4.6.
    pub const DESTINATION_OPTIONS: u8 = 60;

    /// Whether the protocol number is one of these.
    #[inline(always)]
    pub const fn is_one(protocol: u8) -> bool {
        matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
    }

    /// Bytes of one of this kind, from what its second byte says.
    #[inline(always)]
    pub const fn size(protocol: u8, length: u8) -> u32 {
        match protocol {
            FRAGMENT => 8,
            AUTHENTICATION => (length as u32 + 2) << 2,
            _ => (length as u32 + 1) << 3,
        }
    }
}

/// How the protocol's header is tied to the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Ports, and a checksum over a pseudo header.
    Tcp,
    /// As TCP; a checksum of zero says that there is none (RFC 768).
    Udp,
    /// Identifiers of queries, and a checksum over the message alone.
    Icmp,
    /// No port is translated. Where there is a checksum over a pseudo header, its offset.
    Other {
        /// Bytes from the beginning of the protocol's header.
        checksum: Option<u8>,
    },
}

impl Transport {
    /// What is known of a protocol, by its number.
    #[inline(always)]
    pub const fn of(protocol: u8) -> Self {
        match protocol {
            TCP => Self::Tcp,
            UDP => Self::Udp,
            ICMP => Self::Icmp,
            // RFC 4340, section 5.1; RFC 3828, section 3.1.
            DCCP | UDPLITE => Self::Other { checksum: Some(6) },
            _ => Self::Other { checksum: None },
        }
    }

    /// Whether a flow of it can be moved to another port (or query identifier).
    #[inline(always)]
    pub const fn has_ports(self) -> bool {
        !matches!(self, Self::Other { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::{icmp::*, *};

    #[test]
    fn every_reply_answers_a_request() {
        for classify in [classify, icmp6::classify] {
            for message_type in 0..=u8::MAX {
                if let Message::Reply(request) = classify(message_type) {
                    assert_eq!(classify(request), Message::Request(request));
                }
            }
        }
    }

    #[test]
    fn errors_are_neither_requests_nor_replies() {
        for error in [3, 4, 5, 11, 12] {
            assert_eq!(classify(error), Message::Error);
        }
        for other in [1, 2, 6, 7, 9, 10, 19, 40, 255] {
            assert_eq!(classify(other), Message::Other);
        }
    }

    #[test]
    fn neighbour_discovery_is_no_error() {
        for error in [1, 2, 3, 4] {
            assert_eq!(icmp6::classify(error), Message::Error);
        }
        assert_eq!(icmp6::classify(128), Message::Request(128));
        assert_eq!(icmp6::classify(129), Message::Reply(128));
        let discovery = icmp6::ROUTER_SOLICITATION..=icmp6::REDIRECT;
        for other in [0, 5, 8, 100, 127, 130, 131, 132, 138, 143, 255].into_iter().chain(discovery) {
            assert_eq!(icmp6::classify(other), Message::Other, "{other}");
        }
    }

    #[test]
    fn address_only_protocols_have_no_ports() {
        for protocol in [GRE, ESP, SCTP, DCCP, UDPLITE, 4, 41, 255] {
            assert!(!Transport::of(protocol).has_ports());
        }
        assert_eq!(Transport::of(DCCP), Transport::Other { checksum: Some(6) });
        assert_eq!(
            Transport::of(SCTP),
            Transport::Other { checksum: None },
            "CRC32c does not cover addresses"
        );
    }
}
