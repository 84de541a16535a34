//! Which packets a rule is about.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The two families of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

/// Packets of a protocol and, with ports, those from or to one of them. The default is all packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Traffic {
    pub family: Option<Family>,
    pub protocol: Option<u8>,
    /// Ranges with both ends. A rule that names both ports of a packet is known by one of them, which is more than it
    /// is about.
    pub ports: Option<Vec<(u16, u16)>>,
    /// The same of addresses, as numbers.
    pub addresses: Option<Vec<(u128, u128)>>,
}

impl Traffic {
    /// The packets that are of both; `None`: there are none.
    pub fn and(&self, other: &Self) -> Option<Self> {
        let (family, protocol) = (both(self.family, other.family)?, both(self.protocol, other.protocol)?);
        // One may mean sources and the other destinations, so either will do.
        let ports = self.ports.clone().or_else(|| other.ports.clone());
        let addresses = self.addresses.clone().or_else(|| other.addresses.clone());
        Some(Self { family, protocol, ports, addresses })
    }

    /// Of the addresses that it is about already, those in these ranges.
    pub fn keep_addresses(&mut self, ranges: &[(u128, u128)]) {
        let known = self.addresses.take().unwrap_or_else(|| vec![(0, u128::MAX)]);
        self.addresses = Some(common(&known, ranges));
    }

    /// Of the ports that it is about already, those in these ranges.
    pub fn keep(&mut self, ranges: &[(u16, u16)]) {
        let known = self.ports.take().unwrap_or_else(|| vec![(0, u16::MAX)]);
        self.ports = Some(common(&known, ranges));
    }
}

/// What is in ranges of both, in order: the kernel has sets in one of its own.
fn common<T: Ord + Copy>(ones: &[(T, T)], others: &[(T, T)]) -> Vec<(T, T)> {
    let cut = |(a, b): (T, T), (c, d): (T, T)| (a.max(c), b.min(d));
    let both = ones.iter().flat_map(|one| others.iter().map(move |other| cut(*one, *other)));
    let mut both: Vec<_> = both.filter(|(first, last)| first <= last).collect();
    both.sort_unstable();
    both
}

/// What is said by one or by both; `None`: they contradict each other.
fn both<T: PartialEq>(one: Option<T>, another: Option<T>) -> Option<Option<T>> {
    match (one, another) {
        (Some(one), Some(another)) if one != another => None,
        (one, another) => Some(one.or(another)),
    }
}

impl Traffic {
    /// Addresses, if it is about some, and of which family they are.
    pub fn of_addresses(&self) -> Option<(Family, &[(u128, u128)])> {
        self.family.zip(self.addresses.as_deref())
    }

    fn fmt_addresses(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((family, ranges)) = self.of_addresses() else { return Ok(()) };
        let address = |number: u128| match family {
            Family::V4 => IpAddr::from(Ipv4Addr::from(number as u32)),
            Family::V6 => IpAddr::from(Ipv6Addr::from(number)),
        };
        for (index, (first, last)) in ranges.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { " of " } else { "," }, address(*first))?;
            if first != last {
                write!(f, "-{}", address(*last))?;
            }
        }
        Ok(())
    }

    fn fmt_ports(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ports.iter().flatten().enumerate() {
            let before = if index == 0 { " " } else { "," };
            match first == last {
                true => write!(f, "{before}{first}")?,
                false => write!(f, "{before}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol.map(i32::from) {
            None if self.ports.is_some() => write!(f, "ports")?,
            None => write!(f, "all")?,
            Some(libc::IPPROTO_TCP) => write!(f, "tcp")?,
            Some(libc::IPPROTO_UDP) => write!(f, "udp")?,
            Some(libc::IPPROTO_ICMP) => write!(f, "icmp")?,
            Some(libc::IPPROTO_ICMPV6) => write!(f, "icmpv6")?,
            Some(other) => write!(f, "protocol {other}")?,
        }
        self.fmt_ports(f)?;
        self.fmt_addresses(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(protocol: Option<u8>, ports: Option<&[(u16, u16)]>) -> Traffic {
        Traffic { protocol, ports: ports.map(<[_]>::to_vec), ..Traffic::default() }
    }

    #[test]
    fn what_is_of_two_protocols_is_nothing() {
        let tcp = of(Some(6), None);
        assert_eq!(tcp.and(&of(Some(17), None)), None);
        assert_eq!(tcp.and(&Traffic::default()), Some(tcp.clone()));
        assert_eq!(tcp.and(&of(None, Some(&[(80, 80)]))), Some(of(Some(6), Some(&[(80, 80)]))));
    }

    #[test]
    fn what_is_of_two_families_is_nothing() {
        let four = Traffic { family: Some(Family::V4), ..Traffic::default() };
        let six = Traffic { family: Some(Family::V6), ..Traffic::default() };
        assert_eq!((four.and(&six), four.and(&Traffic::default())), (None, Some(four.clone())));
    }

    #[test]
    fn addresses_are_shown() {
        let one = u128::from(u32::from(Ipv4Addr::new(10, 0, 0, 5)));
        let mut traffic = of(Some(17), Some(&[(53, 53)]));
        traffic.keep_addresses(&[(one, one), (one + 2, one + 3)]);
        assert_eq!(traffic.to_string(), "udp 53", "of no family");
        traffic.family = Some(Family::V4);
        assert_eq!(traffic.to_string(), "udp 53 of 10.0.0.5,10.0.0.7-10.0.0.8");
        traffic = Traffic { family: Some(Family::V6), ..Traffic::default() };
        traffic.keep_addresses(&[(1, 5)]);
        traffic.keep_addresses(&[(3, 9)]);
        assert_eq!(traffic.to_string(), "all of ::3-::5");
    }

    #[test]
    fn ports_are_cut_to_ranges() {
        let mut traffic = of(Some(17), None);
        traffic.keep(&[(1000, 2000), (3000, 4000)]);
        traffic.keep(&[(1500, 3500)]);
        assert_eq!(traffic.ports, Some(vec![(1500, 2000), (3000, 3500)]));
        assert_eq!(traffic.to_string(), "udp 1500-2000,3000-3500");
        traffic.keep(&[(53, 53)]);
        assert_eq!(traffic.ports, Some(Vec::new()), "none are left");
    }
}
