//! What leads inside, as status shows it.

use std::net::Ipv4Addr;

use natbpf_common::{
    IfIndex,
    contract::forwards::{Forward, ForwardFlags, ForwardKey, Pool},
    wire::protocol::TCP,
};
use serde::Serialize;

/// Ports of one external address that lead to one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForwardStatus {
    pub uplink: String,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    pub address: Ipv4Addr,
    pub first_port: u16,
    pub last_port: u16,
    pub to: Ipv4Addr,
    /// The inside port of the first external one.
    pub to_port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FloatingStatus {
    pub uplink: String,
    pub address: Ipv4Addr,
    pub to: Ipv4Addr,
}

/// The addresses of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolStatus {
    pub addresses: Vec<Ipv4Addr>,
}

/// Puts the prefixes of ports together to ranges again, and tells floating addresses from forwards. `name`
/// gives that of an interface.
pub fn forwards(
    entries: &[(u32, ForwardKey, Forward)],
    name: impl Fn(IfIndex) -> String,
) -> (Vec<ForwardStatus>, Vec<FloatingStatus>) {
    let (fixed, by_port): (Vec<_>, Vec<_>) =
        entries.iter().partition(|(.., forward)| forward.flags.intersects(ForwardFlags::FIXED));
    let floating = fixed.into_iter().map(|(_, key, forward)| {
        let (address, to) = (key.address.into(), forward.address.into());
        FloatingStatus { uplink: name(key.uplink), address, to }
    });
    let mut floating: Vec<FloatingStatus> = floating.collect();
    floating.sort_by_key(|floating| (floating.uplink.clone(), floating.address));
    let by_port = by_port.into_iter().map(|(length, key, forward)| {
        let first_port = key.port.number();
        let more = u16::MAX.checked_shr(length.saturating_sub(ForwardKey::PORT_BITS - 16)).unwrap_or(0);
        ForwardStatus {
            uplink: name(key.uplink),
            protocol: if key.protocol == TCP { "tcp" } else { "udp" },
            address: key.address.into(),
            first_port,
            last_port: first_port | more,
            to: forward.address.into(),
            to_port: first_port.wrapping_add(forward.port_offset),
        }
    });
    let mut by_port: Vec<ForwardStatus> = by_port.collect();
    by_port.sort_by_key(|forward| {
        (forward.uplink.clone(), forward.address, forward.protocol, forward.first_port)
    });
    let mut forwards: Vec<ForwardStatus> = Vec::new();
    for next in by_port {
        match forwards.last_mut() {
            Some(last) if last.goes_on_with(&next) => last.last_port = next.last_port,
            _ => forwards.push(next),
        }
    }
    (forwards, floating)
}

impl ForwardStatus {
    /// Whether another one has the ports that follow, and leads to those that follow.
    fn goes_on_with(&self, next: &Self) -> bool {
        self.uplink == next.uplink
            && self.protocol == next.protocol
            && self.address == next.address
            && self.to == next.to
            && self.last_port.checked_add(1) == Some(next.first_port)
            && self.to_port.wrapping_sub(self.first_port) == next.to_port.wrapping_sub(next.first_port)
    }

    /// `tcp 203.0.113.1:8000-8099`
    pub fn external(&self) -> String {
        let Self { protocol, address, first_port, last_port, .. } = self;
        if first_port == last_port {
            return format!("{protocol} {address}:{first_port}");
        }
        format!("{protocol} {address}:{first_port}-{last_port}")
    }

    /// `10.0.0.11:80`, with the last port of a range too.
    pub fn inside(&self) -> String {
        let Self { to, to_port, .. } = self;
        match self.last_port - self.first_port {
            0 => format!("{to}:{to_port}"),
            more => format!("{to}:{to_port}-{}", to_port.wrapping_add(more)),
        }
    }
}

impl From<&Pool> for PoolStatus {
    fn from(pool: &Pool) -> Self {
        let addresses = pool.addresses.iter().take(pool.count as usize);
        Self { addresses: addresses.map(|address| Ipv4Addr::from(*address)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use natbpf_common::{Address, Port};
    use proptest::prelude::*;

    use super::*;
    use crate::plan::prefixes;

    fn entries(first: u16, last: u16, to: u16) -> Vec<(u32, ForwardKey, Forward)> {
        let address = Address::from(Ipv4Addr::new(203, 0, 113, 1));
        let forward = Forward {
            address: Address::from(Ipv4Addr::new(10, 0, 0, 11)),
            port_offset: to.wrapping_sub(first),
            flags: ForwardFlags::empty(),
        };
        let entry = |first, length: u8| {
            let key = ForwardKey {
                uplink: IfIndex::new(3),
                address,
                protocol: TCP,
                reserved: 0,
                port: Port::new(first),
            };
            (ForwardKey::PORT_BITS - 16 + u32::from(length), key, forward)
        };
        prefixes(first, last).into_iter().map(|prefix| entry(prefix.first, prefix.length)).collect()
    }

    fn shown(entries: &[(u32, ForwardKey, Forward)]) -> Vec<String> {
        let (forwards, _) = forwards(entries, |interface| format!("if{interface}"));
        forwards.iter().map(|forward| format!("{} to {}", forward.external(), forward.inside())).collect()
    }

    proptest! {
        #[test]
        fn ranges_are_shown_as_they_were_given(a: u16, b: u16, to: u16) {
            let (first, last) = (a.min(b), a.max(b));
            prop_assume!(to.checked_add(last - first).is_some());
            let (forwards, floating) = forwards(&entries(first, last, to), |_| "wan".to_owned());
            prop_assert_eq!(forwards.len(), 1);
            prop_assert_eq!((forwards[0].first_port, forwards[0].last_port, forwards[0].to_port), (first, last, to));
            prop_assert_eq!(floating.len(), 0);
        }
    }

    #[test]
    fn neighbours_that_lead_elsewhere_stay_apart() {
        let both = [entries(8090, 8099, 190), entries(8080, 8089, 80), entries(8100, 8100, 9000)].concat();
        assert_eq!(
            shown(&both),
            [
                "tcp 203.0.113.1:8080-8089 to 10.0.0.11:80-89",
                "tcp 203.0.113.1:8090-8099 to 10.0.0.11:190-199",
                "tcp 203.0.113.1:8100 to 10.0.0.11:9000"
            ]
        );
    }

    #[test]
    fn floating_addresses_are_no_forwards() {
        let (_, key, forward) = entries(0, 0, 0)[0];
        let fixed = Forward { flags: ForwardFlags::FIXED, ..forward };
        let (forwards, floating) = forwards(&[(ForwardKey::ADDRESS_BITS, key, fixed)], |_| "wan".to_owned());
        assert_eq!(forwards, []);
        assert_eq!((&*floating[0].uplink, floating[0].to), ("wan", Ipv4Addr::new(10, 0, 0, 11)));
    }
}
