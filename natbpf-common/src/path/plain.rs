//! How long the packets are that may be repeated.

use crate::wire::{
    family::Family,
    headers::Headers,
    protocol::{TCP, UDP},
};

/// Length in bytes of the IPv4 packet, or of the longest segment that will be cut from it. `gso_size` is that of the
/// buffer, 0 where nothing is cut. A result of more than 16 bits: no noted path is for this packet. Rows T17, X02.
#[inline(always)]
pub const fn size<F: Family>(headers: &Headers<F>, gso_size: u32) -> u32 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{
        protocol,
        segment::{ACK, TcpFlags},
    };

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
    fn what_is_cut_counts_by_the_segment() {
        assert_eq!(size(&tcp(ACK), 0), 1500);
        assert_eq!(size(&Headers { payload: 60_000, ..tcp(ACK) }, 1448), 1500);
        assert_eq!(size(&Headers { protocol: UDP, payload: 60_000, ..tcp(TcpFlags::empty()) }, 1472), 1500);
        assert!(
            size(&Headers { protocol: protocol::ICMP, ..tcp(TcpFlags::empty()) }, 100) > u32::from(u16::MAX)
        );
    }
}
