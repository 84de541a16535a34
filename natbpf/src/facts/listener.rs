//! UDP ports that programs wait at.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Those of the network namespace of the calling thread.
pub fn look() -> Vec<SocketAddr> {
    let text = |file| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    ["udp", "udp6"].into_iter().flat_map(|file| listeners(&text(file))).collect()
}

/// The sockets that are connected to nobody: `local_address` is hexadecimal, in words of the host's byte order.
fn listeners(text: &str) -> Vec<SocketAddr> {
    let listener = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote) = (words.next()?, words.next()?);
        let (address, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        remote.ends_with(":0000").then_some(SocketAddr::new(ip(address)?, port))
    };
    text.lines().skip(1).filter_map(listener).collect()
}

fn ip(hexadecimal: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = hexadecimal.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    Some(if hexadecimal.len() == 8 {
        Ipv4Addr::from(word(0)?).into()
    } else {
        let words = [word(0)?, word(1)?, word(2)?, word(3)?];
        let bytes: [u8; 16] = words.concat().try_into().ok()?;
        Ipv6Addr::from(bytes).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_in_the_byte_order_of_the_host() {
        let first = u32::from_ne_bytes([10, 0, 0, 1]);
        let text = format!(
            "  sl  local_address rem_address   st\n 1: {first:08X}:0035 00000000:0000 07\n \
             2: {first:08X}:0044 0100007F:0043 01\n 3: {:032X}:0043 {:032X}:0000 07\n",
            0, 0
        );
        let all = ["10.0.0.1:53", "[::]:67"].map(|listener| listener.parse().unwrap());
        assert_eq!(listeners(&text), all);
    }
}
