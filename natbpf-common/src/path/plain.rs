//! Which packets may be repeated, and what of them matters to that.

use crate::wire::{
    headers::{Headers, Kind},
    protocol::{self, TCP, UDP},
    segment::{FIN, RST, SYN, TcpFlags},
};

/// `skb->priority` of a packet that the kernel has forwarded (`rt_tos2priority`): by it queueing disciplines
/// choose the band.
#[inline(always)]
pub const fn priority(service: u8) -> u32 {
    // TC_PRIO_BESTEFFORT, _BULK, _INTERACTIVE, _INTERACTIVE_BULK of linux/pkt_sched.h, by two bits of the
    // type of service.
    const PRIORITIES: u32 = 0x4620;
    PRIORITIES >> ((service >> 3 & 3) << 2) & 0xf
}

/// The beginning and the end of a connection.
const BOUNDS: TcpFlags = SYN.union(FIN).union(RST);

/// Whether a packet is one that may be repeated: to one host, no beginning and no end of a connection, no fragment, no
/// options, no tag in the frame, nothing that the kernel answers. `link_header` is the length of Ethernet's header.
/// Rows F02, F03.
#[inline(always)]
pub const fn is_plain(headers: &Headers, link_header: u32) -> bool {
    let forward = headers.is(Kind::Forward) || headers.is(Kind::IcmpReply);
    let simple =
        headers.network == link_header && headers.transport == headers.network + 20 && !headers.is_fragment();
    let running = headers.protocol != TCP || !headers.tcp_flags.intersects(BOUNDS);
    forward && simple && running && headers.time_to_live > 1 && !headers.destination.is_for_many()
}

/// Length in bytes of the IPv4 packet, or of the longest segment that will be cut from it. `gso_size` is that of the
/// buffer, 0 where nothing is cut. A result of more than 16 bits: no noted path is for this packet. Rows T17, X02.
#[inline(always)]
pub const fn size(headers: &Headers, gso_size: u32) -> u32 {
    let header = headers.transport - headers.network;
    if gso_size == 0 {
        return header + headers.payload;
    }
    let transport = match headers.protocol {
        TCP => headers.tcp_header as u32,
        UDP => 8,
        // Nothing else is cut that natbpf translates; nothing is as long as this.
        _ => u16::MAX as u32 + 1,
    };
    header + transport + gso_size
}

/// Whether packets of a protocol are repeated at all. Others are rare, and have checksums of their own.
#[inline(always)]
pub const fn is_for(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | protocol::ICMP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::segment::ACK;

    #[test]
    fn priorities_are_the_kernels() {
        // ip_tos2prio of net/ipv4/route.c.
        let table = [0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4];
        for service in 0..=u8::MAX {
            assert_eq!(priority(service), table[usize::from(service >> 1 & 15)], "{service:#x}");
        }
    }

    fn tcp(tcp_flags: TcpFlags) -> Headers {
        Headers {
            network: 14,
            transport: 34,
            payload: 1480,
            protocol: TCP,
            tcp_flags,
            tcp_header: 32,
            time_to_live: 64,
            ..Headers::default()
        }
    }

    #[test]
    fn only_plain_packets_are_repeated() {
        let plain = tcp(ACK);
        assert!(is_plain(&plain, 14));
        for flag in [SYN, FIN, RST] {
            assert!(!is_plain(&tcp(ACK | flag), 14));
        }
        assert!(!is_plain(&Headers { time_to_live: 1, ..plain }, 14));
        assert!(!is_plain(&Headers { fragment: 1, ..plain }, 14));
        assert!(!is_plain(&Headers { transport: 38, ..plain }, 14));
        assert!(!is_plain(&Headers { network: 18, transport: 38, ..plain }, 14));
        for address in [[224, 0, 0, 1], [239, 1, 2, 3], [255, 255, 255, 255]] {
            let destination = core::net::Ipv4Addr::from(address).into();
            assert!(!is_plain(&Headers { destination, ..plain }, 14));
        }
        for kind in [Kind::IcmpError, Kind::IcmpOther, Kind::Fragment, Kind::Malformed] {
            assert!(!is_plain(&Headers { kind: kind as u32, ..plain }, 14));
        }
    }

    #[test]
    fn what_is_cut_counts_by_the_segment() {
        assert_eq!(size(&tcp(ACK), 0), 1500);
        assert_eq!(size(&Headers { payload: 60_000, ..tcp(ACK) }, 1448), 1500);
        assert_eq!(size(&Headers { protocol: UDP, payload: 60_000, ..tcp(TcpFlags::empty()) }, 1472), 1500);
        assert!(
            size(&Headers { protocol: protocol::ICMP, ..tcp(TcpFlags::empty()) }, 100) > u32::from(u16::MAX)
        );
    }
}
