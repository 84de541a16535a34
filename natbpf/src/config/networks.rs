//! Networks with exceptions, as `-s` and `! -s` of iptables in one list.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use ipnet::Ipv4Net;

use super::values::{ValueError, network};

/// One network, or with `!` before it all but this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkMatch {
    pub negated: bool,
    pub network: Ipv4Net,
}

/// Which addresses a rule is for. Nothing in it: all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Empty: every address, but the excluded ones.
    pub included: Vec<Ipv4Net>,
    pub excluded: Vec<Ipv4Net>,
}

impl FromStr for NetworkMatch {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.strip_prefix('!') {
            Some(rest) => Ok(Self { negated: true, network: network(rest.trim_start())? }),
            None => Ok(Self { negated: false, network: network(text)? }),
        }
    }
}

impl fmt::Display for NetworkMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.negated { "!" } else { "" }, self.network)
    }
}

impl Networks {
    /// A network that stands there twice is a slip, all the more if once it is negated.
    pub fn add(&mut self, item: NetworkMatch) -> Result<(), ValueError> {
        if self.mentioned().any(|network| network == item.network) {
            return Err(ValueError::Twice(item.network));
        }
        if item.negated { &mut self.excluded } else { &mut self.included }.push(item.network);
        Ok(())
    }

    /// As [`Networks::add`] of all of them.
    pub fn collect(items: &[NetworkMatch]) -> Result<Self, ValueError> {
        let mut networks = Self::default();
        for item in items {
            networks.add(*item)?;
        }
        Ok(networks)
    }

    /// Every network that is written down.
    pub fn mentioned(&self) -> impl Iterator<Item = Ipv4Net> {
        self.included.iter().chain(&self.excluded).copied()
    }

    /// Whether it leaves no address out.
    pub fn is_everything(&self) -> bool {
        let everything = |network: &Ipv4Net| network.prefix_len() == 0;
        self.excluded.is_empty() && (self.included.is_empty() || self.included.iter().any(everything))
    }

    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.covers(Ipv4Net::from(address))
    }

    /// Whether it is for every address of a network. Where a longer network that is written down decides for
    /// a part of it, that part is another question. Row M02.
    pub fn covers(&self, network: Ipv4Net) -> bool {
        let within = |outer: &Ipv4Net| outer.contains(&network);
        (self.included.is_empty() || self.included.iter().any(within)) && !self.excluded.iter().any(within)
    }

    /// Whether it is for some address of a network.
    pub fn touches(&self, network: Ipv4Net) -> bool {
        let overlap = |other: &Ipv4Net| other.contains(&network) || network.contains(other);
        (self.included.is_empty() || self.included.iter().any(overlap))
            && !self.excluded.iter().any(|excluded| excluded.contains(&network))
    }
}

/// One address.
impl From<Ipv4Addr> for Networks {
    fn from(address: Ipv4Addr) -> Self {
        Self { included: vec![address.into()], excluded: Vec::new() }
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let included = self.included.iter().map(|&network| NetworkMatch { negated: false, network });
        let excluded = self.excluded.iter().map(|&network| NetworkMatch { negated: true, network });
        let all: Vec<String> = included.chain(excluded).map(|item| item.to_string()).collect();
        f.write_str(&if all.is_empty() { "every address".to_owned() } else { all.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(text: &str) -> Networks {
        let items: Vec<NetworkMatch> = text.split_whitespace().map(|item| item.parse().unwrap()).collect();
        Networks::collect(&items).unwrap()
    }

    #[test]
    fn what_is_negated_is_left_out() {
        let address = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        let some = networks("10.0.0.0/24 10.1.0.0/16 !10.0.0.5");
        assert!(some.contains(address("10.0.0.4")) && some.contains(address("10.1.9.9")));
        assert!(!some.contains(address("10.0.0.5")) && !some.contains(address("10.2.0.1")));
        let others = networks("!10.0.0.0/8");
        assert!(others.contains(address("192.0.2.1")) && !others.contains(address("10.0.0.1")));
        assert!(Networks::default().contains(address("0.0.0.0")));
        assert_eq!(some.to_string(), "10.0.0.0/24, 10.1.0.0/16, !10.0.0.5/32");
    }

    #[test]
    fn networks_that_overlap_in_part() {
        let network = |text: &str| text.parse::<Ipv4Net>().unwrap();
        let some = networks("10.0.0.0/24 !10.0.0.128/25");
        assert!(some.touches(network("10.0.0.0/8")) && some.touches(network("10.0.0.0/25")));
        assert!(!some.touches(network("10.0.0.128/26")) && !some.touches(network("10.0.1.0/24")));
        assert!(networks("!10.0.0.0/8").touches(network("192.0.2.0/24")));
        assert!(networks("").is_everything() && networks("0.0.0.0/0").is_everything());
        assert!(!some.is_everything() && !networks("!10.0.0.0/8").is_everything());
    }

    #[test]
    fn the_same_network_twice_is_a_slip() {
        let items = ["10.0.0.0/24", "! 10.0.0.0/24"].map(|text| text.parse::<NetworkMatch>().unwrap());
        assert_eq!(items[1], NetworkMatch { negated: true, ..items[0] });
        let error = Networks::collect(&items).unwrap_err();
        assert_eq!(error.to_string(), "10.0.0.0/24 is given twice; leave one out");
    }
}
