//! What a rule matches, as a conjunction of conditions, and exact calculations with that.
//!
//! Every condition is a set that can be cut with another and taken out of another without loss. So what is left of a
//! rule after those before it is known and never estimated.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// The numbers of protocols that have ports here.
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// All of it has to hold. The default holds always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    pub input: Devices,
    pub output: Devices,
    pub source: Addresses,
    pub destination: Addresses,
    pub protocol: Protocols,
    pub source_ports: Ports,
    /// Destination ports.
    pub ports: Ports,
    /// To an address of the host itself.
    pub to_host: Option<bool>,
    /// From an address of the host itself.
    pub from_host: Option<bool>,
    /// Its destination was translated.
    pub redirected: Option<bool>,
    /// It is not the first of its flow.
    pub established: Option<bool>,
}

/// Names of interfaces: one pattern, but not some others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// `None`: any name.
    pub is: Option<Pattern>,
    pub not: Vec<Pattern>,
}

/// The name of an interface, or with `wildcard` its beginning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    pub name: String,
    pub wildcard: bool,
}

/// The addresses of a network, but those of some networks in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    pub within: Ipv4Net,
    pub without: Vec<Ipv4Net>,
}

/// One protocol or all, but not some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protocols {
    pub is: Option<u8>,
    pub not: Vec<u8>,
}

/// Ranges in order, both ends included. Only what has ports is in a set that is not full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(Vec<(u16, u16)>);

impl Match {
    /// What both match; `None` if that is nothing.
    pub fn and(&self, other: &Self) -> Option<Self> {
        Some(Self {
            input: self.input.and(&other.input)?,
            output: self.output.and(&other.output)?,
            source: self.source.and(&other.source)?,
            destination: self.destination.and(&other.destination)?,
            protocol: self.protocol.and(&other.protocol)?,
            source_ports: self.source_ports.and(&other.source_ports)?,
            ports: self.ports.and(&other.ports)?,
            to_host: flags(self.to_host, other.to_host)?,
            from_host: flags(self.from_host, other.from_host)?,
            redirected: flags(self.redirected, other.redirected)?,
            established: flags(self.established, other.established)?,
        })
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.and(other).is_some()
    }

    /// What only this one matches, in pieces that do not overlap.
    pub fn minus(&self, other: &Self) -> Vec<Self> {
        if !self.overlaps(other) {
            return vec![self.clone()];
        }
        let mut left = Vec::new();
        // What has met the conditions up to here.
        let mut met = self.clone();
        for (yes, no) in other.conditions() {
            left.extend(no.iter().filter_map(|no| met.and(no)));
            match met.and(&yes) {
                Some(both) => met = both,
                None => return left,
            }
        }
        left
    }

    /// Each single condition, with all that fails it.
    fn conditions(&self) -> Vec<(Self, Vec<Self>)> {
        fn one<T: Clone>(
            is: &T,
            not: impl IntoIterator<Item = T>,
            set: fn(T) -> Match,
        ) -> (Match, Vec<Match>) {
            (set(is.clone()), not.into_iter().map(set).collect())
        }
        let not = |flag: Option<bool>| flag.map(|flag| Some(!flag));
        let all = [
            one(&self.output, self.output.opposite(), Self::output),
            one(&self.input, self.input.opposite(), Self::input),
            one(&self.source, self.source.opposite(), Self::source),
            one(&self.destination, self.destination.opposite(), Self::destination),
            one(&self.protocol, self.protocol.opposite(), Self::protocol),
            one(&self.source_ports, self.source_ports.opposite(), Self::source_ports),
            one(&self.ports, self.ports.opposite(), Self::ports),
            one(&self.to_host, not(self.to_host), |to_host| Self { to_host, ..Self::default() }),
            one(&self.from_host, not(self.from_host), |from_host| Self { from_host, ..Self::default() }),
            one(&self.redirected, not(self.redirected), |redirected| Self { redirected, ..Self::default() }),
            one(&self.established, not(self.established), |established| Self {
                established,
                ..Self::default()
            }),
        ];
        all.into_iter().filter(|(yes, _)| *yes != Self::default()).collect()
    }
}

/// With one condition and no other.
impl Match {
    pub fn input(input: Devices) -> Self {
        Self { input, ..Self::default() }
    }

    pub fn output(output: Devices) -> Self {
        Self { output, ..Self::default() }
    }

    pub fn source(source: Addresses) -> Self {
        Self { source, ..Self::default() }
    }

    pub fn destination(destination: Addresses) -> Self {
        Self { destination, ..Self::default() }
    }

    pub fn protocol(protocol: Protocols) -> Self {
        Self { protocol, ..Self::default() }
    }

    pub fn source_ports(source_ports: Ports) -> Self {
        Self { source_ports, ..Self::default() }
    }

    /// Destination ports.
    pub fn ports(ports: Ports) -> Self {
        Self { ports, ..Self::default() }
    }
}

/// What is left of `pieces` without `taken`.
pub fn minus(pieces: &[Match], taken: &[Match]) -> Vec<Match> {
    let without =
        |left: Vec<Match>, taken: &Match| left.iter().flat_map(|piece| piece.minus(taken)).collect();
    taken.iter().fold(pieces.to_vec(), without)
}

/// What none of the pieces matches.
pub fn outside(pieces: &[Match]) -> Vec<Match> {
    minus(&[Match::default()], pieces)
}

/// What both have in common.
pub fn and(some: &[Match], others: &[Match]) -> Vec<Match> {
    some.iter().flat_map(|one| others.iter().filter_map(|other| one.and(other))).collect()
}

pub fn overlap(some: &[Match], others: &[Match]) -> bool {
    some.iter().any(|one| others.iter().any(|other| one.overlaps(other)))
}

/// `None`: no packet is both.
fn flags(one: Option<bool>, two: Option<bool>) -> Option<Option<bool>> {
    match (one, two) {
        (Some(one), Some(two)) if one != two => None,
        (one, two) => Some(one.or(two)),
    }
}

impl Devices {
    pub fn is(pattern: Pattern) -> Self {
        Self { is: Some(pattern), not: Vec::new() }
    }

    pub fn not(pattern: Pattern) -> Self {
        Self { is: None, not: vec![pattern] }
    }

    /// The one device of this name.
    pub fn named(name: &str) -> Self {
        Self::is(Pattern::exact(name))
    }

    /// A name, or the beginning of names with `mark` behind it: `eth0`, `eth+`.
    pub fn read(text: &str, mark: char) -> Self {
        match text.strip_suffix(mark) {
            Some("") => Self::default(),
            Some(start) => Self::is(Pattern { name: start.to_owned(), wildcard: true }),
            None => Self::named(text),
        }
    }

    /// `None`: no name is in both.
    pub fn and(&self, other: &Self) -> Option<Self> {
        let is = match (&self.is, &other.is) {
            (Some(one), Some(two)) if one.covers(two) => Some(two.clone()),
            (Some(one), Some(two)) if two.covers(one) => Some(one.clone()),
            (Some(_), Some(_)) => return None,
            (one, two) => one.clone().or_else(|| two.clone()),
        };
        let mut not: Vec<Pattern> = Vec::new();
        for pattern in self.not.iter().chain(&other.not) {
            match &is {
                Some(is) if pattern.covers(is) => return None,
                Some(is) if !is.covers(pattern) => {}
                _ if not.iter().any(|other| other.covers(pattern)) => {}
                _ if pattern.name.is_empty() => return None,
                _ => {
                    not.retain(|other| !pattern.covers(other));
                    not.push(pattern.clone());
                }
            }
        }
        Some(Self { is, not })
    }

    fn opposite(&self) -> Vec<Self> {
        let outside = self.is.clone().map(Self::not);
        outside.into_iter().chain(self.not.iter().cloned().map(Self::is)).collect()
    }

    pub fn is_any(&self) -> bool {
        self.is.is_none() && self.not.is_empty()
    }

    /// The name, if only one device can be meant.
    pub fn name(&self) -> Option<&str> {
        self.is.as_ref().filter(|is| !is.wildcard).map(|is| is.name.as_str())
    }

    /// Whether a device of this name is meant.
    pub fn includes(&self, name: &str) -> bool {
        self.and(&Self::named(name)).is_some()
    }
}

impl Pattern {
    pub fn exact(name: &str) -> Self {
        Self { name: name.to_owned(), wildcard: false }
    }

    /// Whether all names of the other are among its own.
    pub fn covers(&self, other: &Self) -> bool {
        if self.wildcard { other.name.starts_with(&self.name) } else { self == other }
    }
}

impl Addresses {
    pub fn network(within: Ipv4Net) -> Self {
        Self { within, without: Vec::new() }
    }

    fn not(network: Ipv4Net) -> Self {
        Self { within: Ipv4Net::default(), without: vec![network] }
    }

    pub fn host(address: Ipv4Addr) -> Self {
        Self::network(address.into())
    }

    /// The address, if there is but one.
    pub fn single(&self) -> Option<Ipv4Addr> {
        (self.within.prefix_len() == 32 && self.without.is_empty()).then(|| self.within.addr())
    }

    /// Whether all of the other are among its own.
    pub fn covers(&self, other: &Self) -> bool {
        self.opposite().iter().all(|outside| outside.and(other).is_none())
    }

    pub fn is_everything(&self) -> bool {
        self.within.prefix_len() == 0 && self.without.is_empty()
    }

    /// `None`: no address is in both.
    fn and(&self, other: &Self) -> Option<Self> {
        let within = match () {
            () if self.within.contains(&other.within) => other.within,
            () if other.within.contains(&self.within) => self.within,
            () => return None,
        };
        let mut without: Vec<Ipv4Net> = Vec::new();
        for network in self.without.iter().chain(&other.without) {
            if network.contains(&within) {
                return None;
            }
            if within.contains(network) && !without.iter().any(|other| other.contains(network)) {
                without.retain(|other| !network.contains(other));
                without.push(*network);
            }
        }
        Some(Self { within, without })
    }

    /// All others, in pieces.
    fn opposite(&self) -> Vec<Self> {
        let outside = (self.within.prefix_len() > 0).then(|| Self::not(self.within));
        outside.into_iter().chain(self.without.iter().map(|network| Self::network(*network))).collect()
    }
}

impl Protocols {
    pub fn is(number: u8) -> Self {
        Self { is: Some(number), not: Vec::new() }
    }

    fn not(number: u8) -> Self {
        Self { is: None, not: vec![number] }
    }

    pub fn is_any(&self) -> bool {
        *self == Self::default()
    }

    fn and(&self, other: &Self) -> Option<Self> {
        let is = match (self.is, other.is) {
            (Some(one), Some(two)) if one != two => return None,
            (one, two) => one.or(two),
        };
        let mut not = [&self.not[..], &other.not].concat();
        match is {
            Some(is) if not.contains(&is) => return None,
            Some(_) => not.clear(),
            None => {}
        }
        not.sort_unstable();
        not.dedup();
        Some(Self { is, not })
    }

    fn opposite(&self) -> Vec<Self> {
        self.is.map(Self::not).into_iter().chain(self.not.iter().copied().map(Self::is)).collect()
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self(vec![(0, u16::MAX)])
    }
}

impl Ports {
    /// `None` if there is none.
    pub fn new(mut ranges: Vec<(u16, u16)>) -> Option<Self> {
        ranges.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::new();
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(before) if before.1 == u16::MAX || first <= before.1 + 1 => {
                    before.1 = before.1.max(last);
                }
                _ => joined.push((first, last)),
            }
        }
        (!joined.is_empty()).then_some(Self(joined))
    }

    pub fn range(range: (u16, u16)) -> Self {
        Self(vec![range])
    }

    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.0
    }

    fn and(&self, other: &Self) -> Option<Self> {
        let pairs = self.0.iter().flat_map(|one| other.0.iter().map(move |two| (one, two)));
        let common = pairs.map(|(one, two)| (one.0.max(two.0), one.1.min(two.1)));
        Self::new(common.filter(|(first, last)| first <= last).collect())
    }

    /// All others; `None` if there are none.
    fn opposite(&self) -> Option<Self> {
        let mut others = Vec::new();
        let mut next = Some(0);
        for (first, last) in &self.0 {
            if let Some(begin) = next.filter(|begin| begin < first) {
                others.push((begin, first - 1));
            }
            next = last.checked_add(1);
        }
        others.extend(next.map(|begin| (begin, u16::MAX)));
        Self::new(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(text: &str) -> Devices {
        match text.strip_prefix('!') {
            Some(name) => Devices::read(name, '+').opposite().remove(0),
            None => Devices::read(text, '+'),
        }
    }

    fn from(network: &str) -> Match {
        Match::source(Addresses::network(network.parse().unwrap()))
    }

    fn to(network: &str) -> Match {
        Match::destination(Addresses::network(network.parse().unwrap()))
    }

    #[test]
    fn devices_together() {
        let and = |one: &str, two: &str| devices(one).and(&devices(two));
        assert_eq!(and("eth0", "eth+"), Some(devices("eth0")));
        assert_eq!(and("eth0", "eth1"), None);
        assert_eq!(and("!eth+", "eth0"), None);
        assert_eq!(and("!eth0", "ppp0"), Some(devices("ppp0")));
        assert_eq!(and("!eth0", "!eth+"), Some(devices("!eth+")));
        let both = and("eth+", "!eth1").unwrap();
        assert!(both.includes("eth0") && !both.includes("eth1") && !both.includes("ppp0"));
        assert_eq!(both.opposite().len(), 2);
    }

    #[test]
    fn what_is_left_of_a_network() {
        let left = from("10.0.0.0/16").minus(&from("10.0.5.0/24"));
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].source.without, ["10.0.5.0/24".parse().unwrap()]);
        assert_eq!(from("10.0.5.0/24").minus(&from("10.0.0.0/16")), []);
        assert_eq!(from("10.0.5.0/24").minus(&from("10.1.0.0/16")), [from("10.0.5.0/24")]);
        // Not from there, or from there and not to there.
        let both = from("10.0.0.0/16").and(&to("192.0.2.0/24")).unwrap();
        let left = Match::default().minus(&both);
        assert_eq!(left.len(), 2);
        assert!(!left[0].overlaps(&left[1]));
        assert_eq!(from("10.0.5.0/24").minus(&both).len(), 1);
    }

    #[test]
    fn ports_and_protocols_are_left_out_exactly() {
        let tcp = Match {
            protocol: Protocols::is(TCP),
            ports: Ports::new(vec![(80, 80), (443, 443)]).unwrap(),
            ..Match::default()
        };
        let left = from("10.0.0.0/16").minus(&tcp);
        assert_eq!(left.len(), 2);
        assert_eq!(left[0].protocol, Protocols::not(TCP));
        assert_eq!(left[1].ports.ranges(), [(0, 79), (81, 442), (444, u16::MAX)]);
        assert_eq!(tcp.minus(&tcp), []);
        assert_eq!(Ports::default().opposite(), None);
        let udp = Match::protocol(Protocols::is(UDP));
        assert!(!udp.overlaps(&tcp) && Match::default().overlaps(&tcp));
    }
}
