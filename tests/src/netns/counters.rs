//! The counters of a namespace's network stack, as nstat(8) shows them.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Namespace;

/// Name, such as `TcpInCsumErrors` or `IpInHdrErrors`, to value since the namespace was made.
pub fn nstat(ns: &Namespace) -> Result<BTreeMap<String, u64>> {
    let snmp = ns.read("/proc/thread-self/net/snmp")?;
    let netstat = ns.read("/proc/thread-self/net/netstat")?;
    Ok(parse(&snmp).chain(parse(&netstat)).collect())
}

/// Packets that the namespace threw away because of a wrong checksum, IPv4 headers included.
pub fn csum_errors(ns: &Namespace) -> Result<u64> {
    let counters = nstat(ns)?;
    let names = ["TcpInCsumErrors", "UdpInCsumErrors", "IcmpInCsumErrors", "IpExtInCsumErrors"];
    Ok(names.iter().filter_map(|name| counters.get(*name)).sum())
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

#[cfg(test)]
mod tests {
    #[test]
    fn names_carry_their_protocol() {
        let text = "Ip: InHdrErrors DefaultTTL\nIp: 3 64\nTcp: MaxConn InCsumErrors\nTcp: -1 7\n";
        let counters: Vec<_> = super::parse(text).collect();
        let expected = [("IpInHdrErrors", 3), ("IpDefaultTTL", 64), ("TcpInCsumErrors", 7)];
        assert_eq!(counters, expected.map(|(name, value)| (name.to_owned(), value)));
    }
}
