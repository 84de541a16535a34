//! What a rule of iptables matches, as far as natbpf could say it, and calculations with that.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// All of it has to hold. The default holds always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    pub input: Device,
    pub output: Device,
    pub source: Addresses,
    pub destination: Addresses,
    /// To an address of the host itself.
    pub local: bool,
    pub protocol: Option<String>,
    /// Destination ports, both ends included; empty: all of them.
    pub ports: Vec<(u16, u16)>,
}

/// There is no way to say it with one device, network or protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsayable;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Device {
    #[default]
    Any,
    Is(Pattern),
    Not(Pattern),
}

/// The name of an interface, or with `wildcard` its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl Match {
    /// What both match; `None` if that is nothing.
    pub fn and(&self, other: &Self) -> Result<Option<Self>, Unsayable> {
        let (Some(source), Some(destination)) =
            (self.source.and(&other.source), self.destination.and(&other.destination))
        else {
            return Ok(None);
        };
        let protocol = match (&self.protocol, &other.protocol) {
            (Some(one), Some(two)) if one != two => return Ok(None),
            (one, two) => one.clone().or_else(|| two.clone()),
        };
        let Some(ports) = common_ports(&self.ports, &other.ports) else { return Ok(None) };
        let (Some(input), Some(output)) = (self.input.and(&other.input)?, self.output.and(&other.output)?)
        else {
            return Ok(None);
        };
        let local = self.local || other.local;
        Ok(Some(Self { input, output, source, destination, local, protocol, ports }))
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.and(other) != Ok(None)
    }

    /// What only this one matches, in pieces that may overlap.
    pub fn minus(&self, other: &Self) -> Result<Vec<Self>, Unsayable> {
        if !self.overlaps(other) {
            return Ok(vec![self.clone()]);
        }
        // Whatever fails one condition of the other is left. A condition that this one has, too, nothing here fails.
        let unsayable = (other.protocol.is_some() && self.protocol.is_none())
            || (!other.ports.is_empty() && self.ports != other.ports)
            || (other.local && !self.local);
        if unsayable {
            return Err(Unsayable);
        }
        let mut pieces = Vec::new();
        if let Some(output) = other.output.opposite() {
            pieces.extend(self.and(&Self { output, ..Self::default() })?);
        }
        if let Some(input) = other.input.opposite() {
            pieces.extend(self.and(&Self { input, ..Self::default() })?);
        }
        for source in other.source.opposite() {
            pieces.extend(self.and(&Self { source, ..Self::default() })?);
        }
        for destination in other.destination.opposite() {
            pieces.extend(self.and(&Self { destination, ..Self::default() })?);
        }
        Ok(pieces)
    }
}

impl Device {
    /// `None`: no device is both.
    fn and(&self, other: &Self) -> Result<Option<Self>, Unsayable> {
        Ok(match (self, other) {
            (Self::Any, device) | (device, Self::Any) => Some(device.clone()),
            (Self::Is(one), Self::Is(two)) if one.covers(two) => Some(other.clone()),
            (Self::Is(one), Self::Is(two)) => two.covers(one).then(|| self.clone()),
            (Self::Is(is), Self::Not(not)) | (Self::Not(not), Self::Is(is)) => match () {
                () if not.covers(is) => None,
                () if is.covers(not) => return Err(Unsayable),
                () => Some(Self::Is(is.clone())),
            },
            (Self::Not(one), Self::Not(two)) if one.covers(two) => Some(self.clone()),
            (Self::Not(one), Self::Not(two)) if two.covers(one) => Some(other.clone()),
            (Self::Not(_), Self::Not(_)) => return Err(Unsayable),
        })
    }

    /// `None` for no device.
    fn opposite(&self) -> Option<Self> {
        match self {
            Self::Any => None,
            Self::Is(pattern) => Some(Self::Not(pattern.clone())),
            Self::Not(pattern) => Some(Self::Is(pattern.clone())),
        }
    }

    /// Whether a device of this name is meant.
    pub fn includes(&self, name: &str) -> bool {
        let device = Pattern { name: name.to_owned(), wildcard: false };
        match self {
            Self::Any => true,
            Self::Is(pattern) => pattern.covers(&device),
            Self::Not(pattern) => !pattern.covers(&device),
        }
    }

    /// The name, if only one device can be meant.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Is(Pattern { name, wildcard: false }) => Some(name),
            _ => None,
        }
    }
}

impl Pattern {
    fn covers(&self, other: &Self) -> bool {
        if self.wildcard { other.name.starts_with(&self.name) } else { self == other }
    }
}

impl Addresses {
    pub fn network(within: Ipv4Net) -> Self {
        Self { within, without: Vec::new() }
    }

    pub fn not(network: Ipv4Net) -> Self {
        Self { within: Ipv4Net::default(), without: vec![network] }
    }

    /// The address, if there is but one.
    pub fn single(&self) -> Option<Ipv4Addr> {
        (self.within.prefix_len() == 32 && self.without.is_empty()).then(|| self.within.addr())
    }

    pub fn is_everything(&self) -> bool {
        self.within.prefix_len() == 0 && self.without.is_empty()
    }

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
            if within.contains(network) && !without.contains(network) {
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

/// `None`: there is none.
fn common_ports(one: &[(u16, u16)], two: &[(u16, u16)]) -> Option<Vec<(u16, u16)>> {
    if one.is_empty() || two.is_empty() {
        return Some([one, two].concat());
    }
    let pairs = one.iter().flat_map(|one| two.iter().map(move |two| (one.0.max(two.0), one.1.min(two.1))));
    let common: Vec<_> = pairs.filter(|(first, last)| first <= last).collect();
    (!common.is_empty()).then_some(common)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(text: &str) -> Device {
        let pattern = |name: &str| {
            let name = name.to_owned();
            match name.strip_suffix('+') {
                Some(start) => Pattern { name: start.to_owned(), wildcard: true },
                None => Pattern { name, wildcard: false },
            }
        };
        match text.strip_prefix('!') {
            Some(name) => Device::Not(pattern(name)),
            None => Device::Is(pattern(text)),
        }
    }

    fn from(network: &str) -> Match {
        Match { source: Addresses::network(network.parse().unwrap()), ..Match::default() }
    }

    fn to(network: &str) -> Match {
        Match { destination: Addresses::network(network.parse().unwrap()), ..Match::default() }
    }

    #[test]
    fn devices_together() {
        let and = |one: &str, two: &str| device(one).and(&device(two));
        assert_eq!(and("eth0", "eth+"), Ok(Some(device("eth0"))));
        assert_eq!(and("eth0", "eth1"), Ok(None));
        assert_eq!(and("!eth+", "eth0"), Ok(None));
        assert_eq!(and("!eth0", "ppp0"), Ok(Some(device("ppp0"))));
        assert_eq!(and("!eth0", "!eth+"), Ok(Some(device("!eth+"))));
        assert_eq!(and("!eth0", "!eth1"), Err(Unsayable));
        assert_eq!(and("eth+", "!eth1"), Err(Unsayable));
    }

    #[test]
    fn what_is_left_of_a_network() {
        let left = from("10.0.0.0/16").minus(&from("10.0.5.0/24")).unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].source.without, ["10.0.5.0/24".parse().unwrap()]);
        assert_eq!(from("10.0.5.0/24").minus(&from("10.0.0.0/16")), Ok(vec![]));
        assert_eq!(from("10.0.5.0/24").minus(&from("10.1.0.0/16")), Ok(vec![from("10.0.5.0/24")]));
        // Not from there, or not to there.
        let both = from("10.0.0.0/16").and(&to("192.0.2.0/24")).unwrap().unwrap();
        assert_eq!(Match::default().minus(&both).unwrap().len(), 2);
        assert_eq!(from("10.0.5.0/24").minus(&both).unwrap().len(), 1);
    }

    #[test]
    fn protocols_and_ports_cannot_be_left_out() {
        let tcp = Match { protocol: Some("tcp".to_owned()), ports: vec![(80, 80)], ..Match::default() };
        assert_eq!(from("10.0.0.0/16").minus(&tcp), Err(Unsayable));
        assert_eq!(tcp.minus(&tcp), Ok(vec![]));
        let other = Match { ports: vec![(1, 79), (81, 90)], ..tcp.clone() };
        assert_eq!(other.minus(&tcp), Ok(vec![other.clone()]));
        assert!(!other.overlaps(&tcp) && Match::default().overlaps(&tcp));
    }
}
