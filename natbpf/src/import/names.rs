//! Names for numbers, those that are the same on every host. A name that is not here is asked for as a number.

use std::str::FromStr;

/// Protocols, as in `/etc/protocols`.
const PROTOCOLS: &str = "all/0 icmp/1 igmp/2 ipip/4 ipencap/4 tcp/6 udp/17 dccp/33 gre/47 esp/50 ipsec-esp/50 \
                         ah/51 ipsec-ah/51 icmpv6/58 ipv6-icmp/58 ospf/89 vrrp/112 sctp/132 udplite/136";

/// Services, as in `/etc/services`.
const SERVICES: &str = "echo/7 discard/9 daytime/13 ftp-data/20 ftp/21 ssh/22 telnet/23 smtp/25 domain/53 \
                        bootps/67 bootpc/68 tftp/69 http/80 www/80 kerberos/88 pop3/110 sunrpc/111 ntp/123 \
                        netbios-ns/137 netbios-dgm/138 netbios-ssn/139 imap/143 imap2/143 snmp/161 \
                        snmp-trap/162 bgp/179 ldap/389 https/443 microsoft-ds/445 submissions/465 isakmp/500 \
                        syslog/514 submission/587 ldaps/636 rsync/873 imaps/993 pop3s/995 openvpn/1194 \
                        l2f/1701 l2tp/1701 radius/1812 nfs/2049 mysql/3306 ms-wbt-server/3389 ipsec-nat-t/4500 \
                        sip/5060 sip-tls/5061 postgresql/5432 http-alt/8080";

/// What stands behind a name in a list like those above.
pub fn lookup<T: FromStr>(list: &str, name: &str) -> Option<T> {
    let mut entries = list.split(' ').filter_map(|entry| entry.split_once('/'));
    entries.find(|(known, _)| *known == name)?.1.parse().ok()
}

/// A protocol by its name or number; 0 is all of them.
pub fn protocol(text: &str) -> Option<u8> {
    let name = text.to_ascii_lowercase();
    lookup(PROTOCOLS, &name).or_else(|| name.parse().ok())
}

/// A port by its number or its service.
pub fn port(text: &str) -> Option<u16> {
    text.parse().ok().or_else(|| lookup(SERVICES, text))
}

/// What is before a mark, and what is behind it if there is one.
pub fn cut(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// `80`, `http`, and with one of `marks` between them `8000:8099`, `1000:`, `:1024`.
pub fn ports(text: &str, marks: &[char]) -> Option<(u16, u16)> {
    // Names of services have dashes.
    if let Some(port) = port(text) {
        return Some((port, port));
    }
    let (first, last) = text.split_once(marks)?;
    let first = if first.is_empty() { 0 } else { port(first)? };
    let last = if last.is_empty() { u16::MAX } else { port(last)? };
    (first <= last).then_some((first, last))
}

/// The same of a text that need not be there; `None` if it is there and cannot be read.
pub fn ports_if_any(text: Option<&str>) -> Option<Option<(u16, u16)>> {
    text.map_or(Some(None), |text| ports(text, &['-']).map(Some))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names() {
        assert_eq!(
            [protocol("TCP"), protocol("6"), protocol("all"), protocol("xyz")],
            [Some(6), Some(6), Some(0), None]
        );
        let range = |text| ports(text, &[':']);
        assert_eq!([range("http"), range("80")], [Some((80, 80)); 2]);
        assert_eq!([range("1000:"), range(":1024")], [Some((1000, 65535)), Some((0, 1024))]);
        assert_eq!(range("ftp-data:ftp"), Some((20, 21)));
        assert_eq!([range("90:80"), range("70000"), range("nobody-knows"), range("")], [None; 4]);
    }
}
