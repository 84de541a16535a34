//! The counters of a namespace's network stack, as nstat(8) shows them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::Namespace;

/// Name, such as `TcpInCsumErrors` or `IpInHdrErrors`, to value since the namespace was made.
pub fn nstat(ns: &Namespace) -> Result<BTreeMap<String, u64>> {
    let snmp = ns.read("/proc/thread-self/net/snmp")?;
    let netstat = ns.read("/proc/thread-self/net/netstat")?;
    // Not there where the kernel has no IPv6.
    let snmp6 = ns.read("/proc/thread-self/net/snmp6").unwrap_or_default();
    Ok(parse(&snmp).chain(parse(&netstat)).chain(parse_lines(&snmp6)).collect())
}

/// Packets that the namespace threw away because of a wrong checksum, IPv4 headers included. TCP counts those of both
/// families.
pub fn csum_errors(ns: &Namespace) -> Result<u64> {
    let counters = nstat(ns)?;
    let names = [
        "TcpInCsumErrors",
        "UdpInCsumErrors",
        "IcmpInCsumErrors",
        "IpExtInCsumErrors",
        "Udp6InCsumErrors",
        "Icmp6InCsumErrors",
    ];
    Ok(names.iter().filter_map(|name| counters.get(*name)).sum())
}

/// Packets that a device has sent. One that a device cuts into segments counts once where the device has that done.
pub fn sent(ns: &Namespace, device: &str) -> Result<u64> {
    let text = ns.cmd("ip").args(["-j", "-s", "link", "show", "dev", device]).output_text()?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    links[0]["stats64"]["tx"]["packets"].as_u64().with_context(|| format!("{device} counts nothing: {text}"))
}

/// Pairs of lines: `Tcp: Name Name …`, then `Tcp: value value …`.
fn parse(text: &str) -> impl Iterator<Item = (String, u64)> {
    let names = text.lines().step_by(2);
    let values = text.lines().skip(1).step_by(2);
    names.zip(values).flat_map(|(names, values)| {
        let prefix = names.split(':').next().unwrap_or_default();
        let pairs = names.split_whitespace().zip(values.split_whitespace()).skip(1);
        pairs.filter_map(move |(name, value)| Some((format!("{prefix}{name}"), value.parse().ok()?)))
    })
}

/// A line for each: `Ip6InReceives                   \t17`.
fn parse_lines(text: &str) -> impl Iterator<Item = (String, u64)> {
    text.lines().filter_map(|line| {
        let (name, value) = line.split_once(char::is_whitespace)?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_carry_their_protocol() {
        let text = "Ip: InHdrErrors DefaultTTL\nIp: 3 64\nTcp: MaxConn InCsumErrors\nTcp: -1 7\n";
        let counters: Vec<_> = super::parse(text).collect();
        let expected = [("IpInHdrErrors", 3), ("IpDefaultTTL", 64), ("TcpInCsumErrors", 7)];
        assert_eq!(counters, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn those_of_ipv6_have_a_line_each() {
        let text = "Udp6InErrors                    \t0\nUdp6InCsumErrors                \t3\n";
        let counters: Vec<_> = super::parse_lines(text).collect();
        let expected = [("Udp6InErrors", 0), ("Udp6InCsumErrors", 3)];
        assert_eq!(counters, expected.map(|(name, value)| (name.to_owned(), value)));
    }
}
