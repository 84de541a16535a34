//! What the matches of nftables mean.

use std::{fmt, net::Ipv4Addr};

use ipnet::{Ipv4Net, Ipv4Subnets};

use crate::import::{
    matching::{Addresses, Devices, Match, Pattern, Ports, Protocols, TCP, UDP, and},
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
    match (field.of, field.key) {
        ("ip", "saddr") => {
            each(negated, values, |value| networks(value).map(|all| all.map(source).collect()))
        }
        ("ip", "daddr") => {
            each(negated, values, |value| networks(value).map(|all| all.map(destination).collect()))
        }
        // An interface that is not there has a number alone.
        ("meta", "iif" | "oif") if values.iter().any(|value| value.parse::<u32>().is_ok()) => None,
        ("meta", "iifname" | "iif") => each(negated, values, |value| Some(vec![input(device(value)?)])),
        ("meta", "oifname" | "oif") => each(negated, values, |value| Some(vec![output(device(value)?)])),
        ("meta", "l4proto") | ("ip", "protocol") => {
            each(negated, values, |value| names::protocol(value).map(|number| vec![protocol(number)]))
        }
        ("tcp" | "udp" | "th", "dport" | "sport") => ports(field, negated, values),
        ("meta", "nfproto") => family(negated, values, "ipv4", "ipv6"),
        ("meta", "protocol") => family(negated, values, "ip", "ip6"),
        // No packet of IPv4 is like that.
        ("ip6" | "icmpv6", _) => Some(Vec::new()),
        ("ct", "state") => state(negated, values),
        ("ct", "status") if values == ["dnat"] => {
            Some(vec![Match { redirected: Some(!negated), ..Match::default() }])
        }
        ("fib", "daddr type") if values == ["local"] => {
            Some(vec![Match { to_host: Some(!negated), ..Match::default() }])
        }
        ("fib", "saddr type") if values == ["local"] => {
            Some(vec![Match { from_host: Some(!negated), ..Match::default() }])
        }
        _ => None,
    }
}

/// Any of the values, or none of them.
fn each(negated: bool, values: &[String], of: impl Fn(&str) -> Option<Vec<Match>>) -> Option<Vec<Match>> {
    let mut some = Vec::new();
    for value in values {
        some.extend(of(value)?);
    }
    if !negated {
        return Some(some);
    }
    Some(some.iter().fold(vec![Match::default()], |left, one| and(&left, &Match::default().minus(one))))
}

fn source(network: Ipv4Net) -> Match {
    Match { source: Addresses::network(network), ..Match::default() }
}

fn destination(network: Ipv4Net) -> Match {
    Match { destination: Addresses::network(network), ..Match::default() }
}

fn input(input: Devices) -> Match {
    Match { input, ..Match::default() }
}

fn output(output: Devices) -> Match {
    Match { output, ..Match::default() }
}

fn protocol(number: u8) -> Match {
    Match { protocol: Protocols::is(number), ..Match::default() }
}

/// An address, a network, or a range, which is several networks.
fn networks(text: &str) -> Option<impl Iterator<Item = Ipv4Net>> {
    let networks: Vec<_> = match text.split_once('-') {
        Some((first, last)) => {
            let (first, last): (Ipv4Addr, Ipv4Addr) = (first.parse().ok()?, last.parse().ok()?);
            Ipv4Subnets::new(first, last, 0).collect()
        }
        None => vec![crate::import::iptables::network(text)?],
    };
    Some(networks.into_iter())
}

fn device(text: &str) -> Option<Devices> {
    // A set and a variable are no names.
    if text.contains('\\') || text.starts_with(['@', '$']) {
        return None;
    }
    let pattern = match text.strip_suffix('*') {
        Some(start) => Pattern { name: start.to_owned(), wildcard: true },
        None => Pattern::exact(text),
    };
    let all = pattern.wildcard && pattern.name.is_empty();
    Some(if all { Devices::default() } else { Devices::is(pattern) })
}

fn ports(field: &Field<'_>, negated: bool, values: &[String]) -> Option<Vec<Match>> {
    let ranges: Option<Vec<_>> = values.iter().map(|value| names::ports(value, &['-'])).collect();
    let some = Ports::new(ranges?)?;
    let ports = if negated { some.opposite() } else { Some(some) };
    let protocol = match field.of {
        "tcp" => Protocols::is(TCP),
        "udp" => Protocols::is(UDP),
        _ => Protocols::default(),
    };
    let matching = ports.map(|ports| match field.key {
        "sport" => Match { source_ports: ports, protocol, ..Match::default() },
        _ => Match { ports, protocol, ..Match::default() },
    });
    Some(matching.into_iter().collect())
}

fn family(negated: bool, values: &[String], four: &str, six: &str) -> Option<Vec<Match>> {
    if !values.iter().all(|value| value == four || value == six) {
        return None;
    }
    let matches = values.iter().any(|value| value == four) != negated;
    Some(if matches { vec![Match::default()] } else { Vec::new() })
}

fn state(negated: bool, values: &[String]) -> Option<Vec<Match>> {
    let known = ["new", "established", "related", "invalid", "untracked"];
    if !values.iter().all(|value| known.contains(&value.as_str())) {
        return None;
    }
    crate::import::iptables::states(&values.join(","), negated)
}
