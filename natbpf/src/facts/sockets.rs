//! Sockets that services and clients of a network namespace wait at.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Those of the calling thread's network namespace, for IPv4 and IPv6.
const TABLES: [&str; 2] = ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"];

const PACKETS: &str = "/proc/thread-self/net/packet";

/// `ETH_P_ALL` and `ETH_P_IP`: what programs that ask for an address take in.
const PROTOCOLS: [&str; 2] = ["0003", "0800"];

/// A socket that is bound to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    pub address: IpAddr,
    pub port: u16,
    /// It takes what one other sends, and nothing else.
    pub connected: bool,
    /// Datagrams that it had no room for, since it is there.
    pub dropped: u64,
}

/// All of them; `None`: they cannot be looked at.
pub fn look() -> Option<Vec<Socket>> {
    let [v4, v6] = TABLES.map(|path| fs::read_to_string(path).ok());
    Some([v4?, v6.unwrap_or_default()].iter().flat_map(|text| sockets(text)).collect())
}

/// Indexes of the devices that packet sockets for IPv4 of the calling thread's network namespace are bound to.
pub fn packet() -> Vec<u32> {
    devices(&fs::read_to_string(PACKETS).unwrap_or_default())
}

/// `sk RefCnt Type Proto Iface …`; 0 is every device.
fn devices(text: &str) -> Vec<u32> {
    let device = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let index = words.get(4)?.parse().ok()?;
        (PROTOCOLS.contains(words.get(3)?) && index != 0).then_some(index)
    };
    text.lines().skip(1).filter_map(device).collect()
}

impl Socket {
    /// Whether what is sent to an address and a port gets there.
    pub fn takes(&self, address: IpAddr, port: u16) -> bool {
        !self.connected && self.port == port && (self.address == address || self.address.is_unspecified())
    }
}

/// `sl local_address rem_address … drops`, addresses as words in the byte order of the machine.
fn sockets(text: &str) -> Vec<Socket> {
    let socket = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (address, port) = words.get(1)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let connected = !words.get(2)?.ends_with(":0000");
        let dropped = words.last()?.parse().ok()?;
        Some(Socket { address: self::address(address)?, port, connected, dropped })
    };
    text.lines().skip(1).filter_map(socket).collect()
}

fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_socket() {
        let local = u32::from_ne_bytes([127, 0, 0, 53]);
        let text = format!(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
             \x20 42: {local:08X}:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   0   0 99 2 0000000000000000 7\n"
        );
        let wanted =
            Socket { address: IpAddr::from([127, 0, 0, 53]), port: 53, connected: false, dropped: 7 };
        assert_eq!(sockets(&text), [wanted]);
        assert!(wanted.takes(IpAddr::from([127, 0, 0, 53]), 53));
        assert!(!wanted.takes(IpAddr::from([127, 0, 0, 1]), 53));
    }

    #[test]
    fn one_for_every_address_takes_what_is_sent_to_any() {
        let text =
            format!("sl\n 1: {}:0043 {}:0000 07 0:0 0:0 0 0 0 1 2 0 0\n", "0".repeat(32), "0".repeat(32));
        assert!(sockets(&text)[0].takes(IpAddr::from([10, 0, 0, 1]), 67));
    }

    #[test]
    fn packet_sockets_are_bound_to_devices() {
        let text = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n\
                    ffff8a0b8a1b2800 3      3    88cc   2     1 0      0      20301\n\
                    ffff8a0b8a1b3000 3      2    0800   7     1 0      0      20302\n\
                    ffff8a0b8a1b3800 3      3    0003   0     1 0      0      20303\n";
        assert_eq!(devices(text), [7]);
    }
}
