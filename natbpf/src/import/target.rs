//! What a rule does with what it matches.

use std::{net::Ipv4Addr, ops::RangeInclusive};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Nothing: it counts, logs or marks, and the next rule is asked. The name of what it does, if there is one.
    #[default]
    None,
    Pass(String),
    Return,
    /// Another chain.
    Jump(String),
    /// Something after which no rule is asked.
    Do(Verdict),
}

/// What ends the way through a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Source(SourceNat),
    Destination(DestinationNat),
    /// No translation.
    Accept,
    /// DROP and REJECT.
    Drop,
    /// It is not tracked. No verdict in the proper sense: the next rule is asked.
    Untracked,
    /// Something that natbpf has not, by its name.
    Other(String),
}

/// MASQUERADE and SNAT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceNat {
    /// An address or a range of them; `None`: the uplink's.
    pub to: Option<(Ipv4Addr, Ipv4Addr)>,
    /// External ports.
    pub ports: Option<(u16, u16)>,
    pub random: bool,
    /// A source always gets the same of several addresses.
    pub persistent: bool,
}

/// DNAT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationNat {
    pub address: Ipv4Addr,
    pub ports: Option<(u16, u16)>,
    /// The external port that leads to the first of `ports`.
    pub base: Option<u16>,
}

impl Verdict {
    /// Whether the packets of one may as well be the other's: the same translation, wherever its ports come from.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Source(one), Self::Source(two)) => (one.to, one.ports) == (two.to, two.ports),
            (one, two) => one == two,
        }
    }
}

impl SourceNat {
    /// The addresses as natbpf has them.
    pub fn range(&self) -> Option<String> {
        let (first, last) = self.to?;
        Some(if first == last { first.to_string() } else { format!("{first}-{last}") })
    }

    /// The external ports of a flow whose own port is not below 1024 (`nf_nat_l4proto_unique_tuple`).
    pub fn allowed_ports(&self) -> RangeInclusive<u16> {
        let (first, last) = self.ports.unwrap_or((1024, u16::MAX));
        first..=last
    }

    pub fn single(&self) -> Option<Ipv4Addr> {
        self.to.filter(|(first, last)| first == last).map(|(first, _)| first)
    }
}

/// Targets of iptables that the next rule is asked after, with the options that they have; one that ends in a dash is
/// the beginning of several.
const PASSING: &[(&str, &str)] = &[
    ("AUDIT", "--type"),
    ("CHECKSUM", "--checksum-fill"),
    ("CLASSIFY", "--set-class"),
    ("CONNMARK", MARKS),
    ("CONNSECMARK", "--save --restore"),
    ("CT", "--notrack --helper --ctevents --expevents --zone-orig --zone-reply --timeout"),
    ("DSCP", "--set-dscp-class"),
    ("HMARK", "--hmark-"),
    ("LED", "--led-"),
    ("LOG", "--log-"),
    ("MARK", MARKS),
    ("NFLOG", "--nflog-"),
    ("NOTRACK", ""),
    ("RATEEST", "--rateest-"),
    ("SECMARK", "--selctx"),
    ("SET", "--add-set --del-set --map- --exist --timeout"),
    ("TCPMSS", "--set-mss --clamp-mss-to-pmtu"),
    ("TEE", "--gateway --oif"),
    ("TOS", "--set-tos --and-tos --or-tos --xor-tos"),
    ("TRACE", ""),
    ("TTL", "--ttl-"),
    ("ULOG", "--ulog-"),
];

const MARKS: &str = "--set-xmark --set-mark --and-mark --or-mark --xor-mark --save-mark --restore-mark --nfmask \
                     --ctmask --mask --left-shift-mark --right-shift-mark";

/// Targets of iptables that decide, without an address that natbpf has to know.
const DECIDING: &[(&str, &str)] = &[
    ("REJECT", "--reject-with"),
    ("QUEUE", ""),
    ("NFQUEUE", "--queue-"),
    ("REDIRECT", "--to-ports --random-fully"),
    ("NETMAP", "--to"),
    ("TPROXY", "--on-port --on-ip --tproxy-mark"),
    ("SYNPROXY", "--sack-perm --timestamp --wscale --mss --ecn"),
    ("CLUSTERIP", "--new --hashmode --clustermac --total-nodes --local-node --hash-init"),
];

/// Whether the next rule is asked after a target of iptables.
pub fn passes(target: &str) -> bool {
    PASSING.iter().any(|(name, _)| *name == target)
}

/// Whether an option is that target's own, or the beginning of its name. What else follows `-j` is a match, as iptables
/// reads it, and a chain has no options at all.
pub fn owns(target: &str, option: &str) -> bool {
    let mut known = PASSING.iter().chain(DECIDING);
    let own = known.find(|(name, _)| *name == target).map_or("", |(_, own)| own);
    let is = |own: &str| own.starts_with(option) || (own.ends_with('-') && option.starts_with(own));
    option.len() > 2 && own.split(' ').any(is)
}

/// An address, or two of them in order.
pub fn addresses(text: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// Why a destination is none that natbpf can forward to, if there is a name for it.
pub fn why_not(destination: &str) -> Option<String> {
    let (address, _) = destination.split_once(':').unwrap_or((destination, ""));
    match addresses(address) {
        Some((first, last)) if first != last => {
            Some(format!("{address} is several addresses, and a forward of natbpf leads to one"))
        }
        None if address.is_empty() => Some(format!(
            "{} is a port alone, and a forward of natbpf leads to an address",
            super::line::printable(destination)
        )),
        _ => None,
    }
}
