//! What the matches of nftables mean.

use std::{fmt, net::Ipv4Addr};

use ipnet::Ipv4Subnets;

use crate::import::{
    matching::{Addresses, Devices, Match, Ports, Protocols, TCP, UDP, and, outside},
    names,
};

/// What is looked at: `ip saddr`, `oifname`, `ct state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub of: &'a str,
    pub key: &'a str,
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{} {}", self.of, self.key);
        f.write_str(&crate::import::line::printable(text.trim_end()))
    }
}

impl Field<'_> {
    /// Whether it is a port of whatever protocol.
    pub fn is_port_alone(&self) -> bool {
        self.of == "th"
    }

    /// Whether it is of IPv4 or IPv6 alone.
    pub fn is_of_family(&self) -> bool {
        matches!((self.of, self.key), ("ip6" | "icmpv6", _) | ("meta", "nfproto" | "protocol"))
    }
}

/// What a condition matches, any of them; `None` if it is not known.
pub fn alternatives(field: &Field<'_>, negated: bool, values: &[String]) -> Option<Vec<Match>> {
    let opposite = |some: Vec<Match>| if negated { outside(&some) } else { some };
    Some(opposite(match (field.of, field.key) {
        ("ip", "saddr") => networks(values)?.into_iter().map(Match::source).collect(),
        ("ip", "daddr") => networks(values)?.into_iter().map(Match::destination).collect(),
        ("meta", "iifname" | "iif") => devices(field, values)?.into_iter().map(Match::input).collect(),
        ("meta", "oifname" | "oif") => devices(field, values)?.into_iter().map(Match::output).collect(),
        ("meta", "l4proto") | ("ip", "protocol") => {
            let numbers = values.iter().map(|value| names::protocol(value));
            numbers.map(|number| Some(Match::protocol(Protocols::is(number?)))).collect::<Option<_>>()?
        }
        ("tcp" | "udp" | "th", "dport" | "sport") => {
            let ports = opposite(vec![ports(field.key, values)?]);
            return Some(and(&[Match::protocol(protocol(field.of))], &ports));
        }
        ("meta", "nfproto") => family(values, "ipv4", "ipv6")?,
        ("meta", "protocol") => family(values, "ip", "ip6")?,
        // No packet of IPv4 is like that.
        ("ip6" | "icmpv6", _) => return Some(Vec::new()),
        ("ct", "state") => state(values)?,
        ("ct", "status") if values == ["dnat"] => vec![Match { redirected: Some(true), ..Match::default() }],
        ("fib", "daddr type") if values == ["local"] => {
            vec![Match { to_host: Some(true), ..Match::default() }]
        }
        ("fib", "saddr type") if values == ["local"] => {
            vec![Match { from_host: Some(true), ..Match::default() }]
        }
        _ => return None,
    }))
}

/// Addresses, networks, or ranges, each of which is several networks.
fn networks(values: &[String]) -> Option<Vec<Addresses>> {
    let mut networks = Vec::new();
    for value in values {
        match value.split_once('-') {
            Some((first, last)) => {
                let (first, last): (Ipv4Addr, Ipv4Addr) = (first.parse().ok()?, last.parse().ok()?);
                networks.extend(Ipv4Subnets::new(first, last, 0).map(Addresses::network));
            }
            None => networks.push(Addresses::network(crate::import::iptables::network(value)?)),
        }
    }
    Some(networks)
}

fn devices(field: &Field<'_>, values: &[String]) -> Option<Vec<Devices>> {
    // A set and a variable are no names, and an interface that is not there has a number alone.
    let is_name = |value: &String| !value.contains('\\') && !value.starts_with(['@', '$']);
    let numbered = |value: &String| matches!(field.key, "iif" | "oif") && value.parse::<u32>().is_ok();
    let known = values.iter().all(|value| is_name(value) && !numbered(value));
    known.then(|| values.iter().map(|value| Devices::read(value, '*')).collect())
}

fn protocol(name: &str) -> Protocols {
    match name {
        "tcp" => Protocols::is(TCP),
        "udp" => Protocols::is(UDP),
        _ => Protocols::default(),
    }
}

fn ports(key: &str, values: &[String]) -> Option<Match> {
    let ranges: Option<Vec<_>> = values.iter().map(|value| names::ports(value, &['-'])).collect();
    let ports = Ports::new(ranges?)?;
    Some(if key == "sport" { Match::source_ports(ports) } else { Match::ports(ports) })
}

fn family(values: &[String], four: &str, six: &str) -> Option<Vec<Match>> {
    let known = values.iter().all(|value| value == four || value == six);
    let matches = values.iter().any(|value| value == four);
    known.then(|| matches.then(Match::default).into_iter().collect())
}

fn state(values: &[String]) -> Option<Vec<Match>> {
    let known = ["new", "established", "related", "invalid", "untracked"];
    let all_known = values.iter().all(|value| known.contains(&value.as_str()));
    all_known.then(|| crate::import::iptables::states(&values.join(",")))?
}
