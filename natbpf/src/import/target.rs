//! What a rule does with what it matches.

use std::net::Ipv4Addr;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Nothing: it counts.
    #[default]
    None,
    Accept,
    Return,
    /// Another chain, or a target that natbpf has nothing like.
    Jump(String),
    Source(SourceNat),
    Destination(DestinationNat),
}

/// MASQUERADE and SNAT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceNat {
    /// An address or a range of them; `None`: the uplink's.
    pub to: Option<String>,
    /// External ports.
    pub ports: Option<(u16, u16)>,
    pub random: bool,
}

/// DNAT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationNat {
    pub address: Ipv4Addr,
    pub ports: Option<(u16, u16)>,
    /// The external port that leads to the first of `ports`.
    pub base: Option<u16>,
}

impl Target {
    /// The target behind `-j`, with the options that follow it; `None` if something in them is not known here.
    pub fn parse(jump: Option<&str>, options: &[(&str, Option<&str>)]) -> Option<Self> {
        Some(match jump {
            None => Self::None,
            Some("ACCEPT") => Self::Accept,
            Some("RETURN") => Self::Return,
            Some("MASQUERADE") => Self::Source(source_nat(options, "--to-ports")?),
            Some("SNAT") => Self::Source(source_nat(options, "--to-source")?),
            Some("DNAT") => Self::Destination(destination_nat(options)?),
            Some(other) => Self::Jump(other.to_owned()),
        })
    }
}

/// `80`, `8000:8099`, or with a dash, as targets have it.
pub fn ports(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once([':', '-']).unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last > 0).then_some((first, last))
}

fn source_nat(options: &[(&str, Option<&str>)], to: &str) -> Option<SourceNat> {
    let mut nat = SourceNat::default();
    for option in options {
        match *option {
            ("--random" | "--random-fully", None) => nat.random = true,
            // Pools of natbpf are persistent.
            ("--persistent", None) => {}
            ("--to-ports", Some(text)) if to == "--to-ports" => nat.ports = Some(ports(text)?),
            ("--to-source", Some(text)) if to == "--to-source" => {
                let (addresses, range) =
                    text.split_once(':').map_or((text, None), |(addresses, range)| (addresses, Some(range)));
                nat.ports = range.map_or(Some(None), |range| ports(range).map(Some))?;
                nat.to = Some(address_range(addresses)?);
            }
            _ => return None,
        }
    }
    (to == "--to-ports" || nat.to.is_some()).then_some(nat)
}

/// An address, or two of them in order.
fn address_range(text: &str) -> Option<String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (Ipv4Addr, Ipv4Addr) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then(|| if first == last { first.to_string() } else { format!("{first}-{last}") })
}

fn destination_nat(options: &[(&str, Option<&str>)]) -> Option<DestinationNat> {
    let mut nat = None;
    for option in options {
        match *option {
            // With one address there is nothing to choose from.
            ("--random" | "--persistent", None) => {}
            ("--to-destination", Some(text)) => {
                let (address, rest) =
                    text.split_once(':').map_or((text, None), |(address, rest)| (address, Some(rest)));
                let (range, base) = match rest.map(|rest| rest.split_once('/').unwrap_or((rest, ""))) {
                    None => (None, ""),
                    Some((range, base)) => (Some(ports(range)?), base),
                };
                let base = if base.is_empty() { None } else { Some(base.parse().ok()?) };
                nat = Some(DestinationNat { address: address.parse().ok()?, ports: range, base });
            }
            _ => return None,
        }
    }
    nat
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        let mut words = text.split(' ').peekable();
        let jump = words.next();
        let mut options = Vec::new();
        while let Some(option) = words.next() {
            options.push((option, words.next_if(|word| !word.starts_with('-'))));
        }
        Target::parse(jump, &options).unwrap_or_else(|| panic!("not understood: {text}"))
    }

    #[test]
    fn targets() {
        let source = |text: &str| match target(text) {
            Target::Source(nat) => (nat.to, nat.ports, nat.random),
            other => panic!("{text} is {other:?}"),
        };
        assert_eq!(source("MASQUERADE"), (None, None, false));
        assert_eq!(
            source("MASQUERADE --to-ports 1024-65535 --random-fully"),
            (None, Some((1024, 65535)), true)
        );
        let pool = source("SNAT --to-source 192.0.2.1-192.0.2.9:5000-5010 --persistent");
        assert_eq!(pool, (Some("192.0.2.1-192.0.2.9".to_owned()), Some((5000, 5010)), false));
        let destination = |text: &str| match target(text) {
            Target::Destination(nat) => (nat.address.to_string(), nat.ports, nat.base),
            other => panic!("{text} is {other:?}"),
        };
        assert_eq!(destination("DNAT --to-destination 10.0.0.11"), ("10.0.0.11".to_owned(), None, None));
        let moved = destination("DNAT --to-destination 10.0.0.11:80-89/8000");
        assert_eq!(moved, ("10.0.0.11".to_owned(), Some((80, 89)), Some(8000)));
    }
}
