//! From the configuration and the interfaces as they are now to the contents of the datapath's maps.

use std::fmt;

use natbpf_common::{
    Address,
    config::{ExceptKey, MAX_ADDRESSES, PREFIX_BASE, Rule, SourceKey, Uplink, UplinkAddress},
};

use crate::{
    address::{borrowed_address, masquerade_addresses, own_addresses},
    config::{Config, Mapping, MasqueradeRule},
    network::{Link, Snapshot},
};

/// What the datapath has to be told.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In the order in which the rules name them, each once.
    pub uplinks: Vec<PlannedUplink>,
    /// Entries of the longest-prefix map of sources: length of the prefix ([`PREFIX_BASE`] included), key,
    /// value.
    pub sources: Vec<(u32, SourceKey, Rule)>,
    /// Entries of the longest-prefix map of destinations left alone: length of the prefix ([`PREFIX_BASE`]
    /// included), key.
    pub excepts: Vec<(u32, ExceptKey)>,
    /// What the operator should know, a sentence each.
    pub warnings: Vec<String>,
}

/// An uplink as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedUplink {
    pub name: String,
    /// Interface index.
    pub interface: u32,
    /// Administratively up. The flows of an uplink that is down are over.
    pub up: bool,
    /// Has its addresses even if it is down.
    pub uplink: Uplink,
}

/// Why a configuration does not fit the interfaces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("there is no interface {name} in this network namespace; there are: {existing}", existing = existing.join(", "))]
    NoInterface { name: String, existing: Vec<String> },
    #[error(
        "{name} cannot be an uplink, because its packets have link layer headers of type {link_layer}; \
         natbpf knows Ethernet and devices without a header (tun, wireguard, ppp)"
    )]
    LinkLayer {
        name: String,
        /// An `ARPHRD_` number.
        link_layer: u16,
    },
}

/// Works out what the datapath has to be told.
pub fn plan(config: &Config, snapshot: &Snapshot) -> Result<Plan, PlanError> {
    let mut plan = Plan::default();
    for (id, rule) in (0u32..).zip(&config.rules) {
        let link = find(snapshot, &rule.out)?;
        if !plan.uplinks.iter().any(|uplink| uplink.interface == link.index) {
            plan.add_uplink(link, snapshot)?;
        }
        plan.add_rule(id, rule, link.index);
        plan.warn_of_own_address(rule, link.index, snapshot);
    }
    Ok(plan)
}

/// `eth0 (203.0.113.1)`
impl fmt::Display for PlannedUplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = &self.uplink.addresses[..self.uplink.address_count as usize];
        let addresses: Vec<String> = addresses.iter().map(|address| address.local.to_string()).collect();
        let addresses = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") };
        let state = if self.up { "" } else { ", down" };
        write!(f, "{} ({addresses}{state})", self.name)
    }
}

impl Plan {
    /// Names of the uplinks that have nothing to translate to.
    pub fn without_address(&self) -> Vec<&str> {
        self.uplinks
            .iter()
            .filter(|uplink| uplink.uplink.address_count == 0)
            .map(|uplink| uplink.name.as_str())
            .collect()
    }

    fn add_uplink(&mut self, link: &Link, snapshot: &Snapshot) -> Result<(), PlanError> {
        let Some(link_header) = link.link_header() else {
            return Err(PlanError::LinkLayer { name: link.name.clone(), link_layer: link.link_layer });
        };
        let found = masquerade_addresses(snapshot, link.index);
        let mut addresses = [UplinkAddress::default(); MAX_ADDRESSES];
        addresses[..found.len()].copy_from_slice(&found);
        self.uplinks.push(PlannedUplink {
            name: link.name.clone(),
            interface: link.index,
            up: link.up,
            uplink: Uplink {
                interface: link.index,
                link_header,
                address_count: found.len() as u32,
                addresses,
            },
        });
        self.warn_of_uplink(link, snapshot);
        Ok(())
    }

    fn add_rule(&mut self, id: u32, rule: &MasqueradeRule, uplink: u32) {
        for network in &rule.sources {
            let key = SourceKey { uplink, source: Address::from(network.network()) };
            self.sources.push((PREFIX_BASE + u32::from(network.prefix_len()), key, rule_value(id, rule)));
        }
        for network in &rule.except {
            let key = ExceptKey { rule: id, destination: Address::from(network.network()) };
            self.excepts.push((PREFIX_BASE + u32::from(network.prefix_len()), key));
        }
    }

    fn warn_of_uplink(&mut self, link: &Link, snapshot: &Snapshot) {
        let name = &link.name;
        if !link.up {
            self.warnings.push(format!(
                "{name} is down, so nothing leaves by it; bring it up with: ip link set {name} up"
            ));
        }
        let count = own_addresses(snapshot, link.index).count();
        if count > MAX_ADDRESSES {
            self.warnings.push(format!(
                "{name} has {count} addresses to masquerade with; only the first {MAX_ADDRESSES} are used"
            ));
        }
        if count == 0
            && let Some(borrowed) = borrowed_address(snapshot, link.index)
        {
            let owner = snapshot.name(borrowed.interface);
            self.warnings.push(format!(
                "{name} has no address of its own, so its traffic takes {} of {owner}, as with iptables; \
                 give {name} an address if replies do not come back",
                borrowed.local
            ));
        }
    }

    /// Every source holds every address, so only networks that were written down are worth a word.
    fn warn_of_own_address(&mut self, rule: &MasqueradeRule, interface: u32, snapshot: &Snapshot) {
        for network in rule.sources.iter().filter(|network| network.prefix_len() > 0) {
            let own = own_addresses(snapshot, interface).find(|address| network.contains(&address.local));
            if let Some(own) = own {
                self.warnings.push(format!(
                    "the source {network} holds {}, the address of the uplink {} itself; \
                     neighbours on the outside that use {} as their gateway are masqueraded too",
                    own.local, rule.out, own.local
                ));
            }
        }
    }
}

fn find<'a>(snapshot: &'a Snapshot, name: &str) -> Result<&'a Link, PlanError> {
    snapshot.links.iter().find(|link| link.name == name).ok_or_else(|| PlanError::NoInterface {
        name: name.to_owned(),
        existing: snapshot.links.iter().map(|link| link.name.clone()).collect(),
    })
}

fn rule_value(id: u32, rule: &MasqueradeRule) -> Rule {
    let mut flags = 0;
    if rule.random {
        flags |= Rule::RANDOM;
    }
    if rule.mapping == Mapping::AddressAndPortDependent {
        flags |= Rule::PER_DESTINATION;
    }
    if rule.to_ports.is_some() {
        flags |= Rule::PORTS;
    }
    if !rule.except.is_empty() {
        flags |= Rule::EXCEPTS;
    }
    let (first_port, last_port) = rule.to_ports.map_or((0, 0), |ports| (ports.first(), ports.last()));
    Rule { id, flags, first_port, last_port }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use natbpf_common::state::Timeouts;

    use super::*;
    use crate::{
        config::{DatapathConfig, Ports},
        network::Ipv4Address,
    };

    fn link(index: u32, name: &str) -> Link {
        Link { index, name: name.to_owned(), up: true, link_layer: libc::ARPHRD_ETHER, kind: None }
    }

    fn address(interface: u32, octets: [u8; 4]) -> Ipv4Address {
        let local = Ipv4Addr::from(octets);
        Ipv4Address { interface, local, peer: local, prefix_length: 24, scope: 0, secondary: false }
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            links: vec![link(1, "lo"), link(2, "lan0"), link(3, "eth0"), link(4, "ppp0")],
            addresses: vec![
                address(2, [10, 0, 0, 1]),
                address(3, [203, 0, 113, 1]),
                address(4, [198, 18, 0, 1]),
            ],
        }
    }

    fn rule(out: &str, sources: &[&str]) -> MasqueradeRule {
        MasqueradeRule {
            out: out.to_owned(),
            sources: sources.iter().map(|network| network.parse().unwrap()).collect(),
            except: Vec::new(),
            mapping: Mapping::EndpointIndependent,
            to_ports: None,
            random: false,
        }
    }

    fn planned(rules: Vec<MasqueradeRule>, snapshot: &Snapshot) -> Result<Plan, PlanError> {
        plan(&Config { rules, datapath: DatapathConfig::default(), timeouts: Timeouts::default() }, snapshot)
    }

    #[test]
    fn rules_become_entries_under_the_index_of_their_uplink() {
        let first = MasqueradeRule {
            except: vec!["10.0.0.0/8".parse().unwrap()],
            to_ports: Ports::new(50000, 50010),
            random: true,
            ..rule("eth0", &["10.0.0.0/24", "10.0.1.5/32"])
        };
        let second =
            MasqueradeRule { mapping: Mapping::AddressAndPortDependent, ..rule("ppp0", &["0.0.0.0/0"]) };
        let third = rule("eth0", &["10.0.2.0/24"]);
        let plan = planned(vec![first, second, third], &snapshot()).unwrap();

        let uplinks: Vec<_> = plan.uplinks.iter().map(|uplink| (&*uplink.name, uplink.interface)).collect();
        assert_eq!(uplinks, [("eth0", 3), ("ppp0", 4)]);
        let key =
            |uplink, octets: [u8; 4]| SourceKey { uplink, source: Address::from(Ipv4Addr::from(octets)) };
        let flags = Rule::RANDOM | Rule::PORTS | Rule::EXCEPTS;
        let ports = Rule { id: 0, flags, first_port: 50000, last_port: 50010 };
        let plain = Rule { id: 2, flags: 0, first_port: 0, last_port: 0 };
        assert_eq!(
            plan.sources,
            [
                (PREFIX_BASE + 24, key(3, [10, 0, 0, 0]), ports),
                (PREFIX_BASE + 32, key(3, [10, 0, 1, 5]), ports),
                (PREFIX_BASE, key(4, [0; 4]), Rule { id: 1, flags: Rule::PER_DESTINATION, ..plain }),
                (PREFIX_BASE + 24, key(3, [10, 0, 2, 0]), plain),
            ]
        );
        let destination = Address::from(Ipv4Addr::new(10, 0, 0, 0));
        assert_eq!(plan.excepts, [(PREFIX_BASE + 8, ExceptKey { rule: 0, destination })]);
        assert_eq!(plan.warnings, [""; 0]);
        assert_eq!(plan.without_address(), [""; 0]);
    }

    #[test]
    fn an_unknown_interface_is_named_with_those_that_exist() {
        let error = planned(vec![rule("eth9", &["0.0.0.0/0"])], &snapshot()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no interface eth9 in this network namespace; there are: lo, lan0, eth0, ppp0"
        );
    }

    #[test]
    fn a_link_layer_that_nobody_knows_is_refused() {
        let mut snapshot = snapshot();
        snapshot.links[2].link_layer = libc::ARPHRD_INFINIBAND;
        let error = planned(vec![rule("eth0", &["0.0.0.0/0"])], &snapshot).unwrap_err();
        assert_eq!(error, PlanError::LinkLayer { name: "eth0".to_owned(), link_layer: 32 });
        snapshot.links[2].link_layer = libc::ARPHRD_NONE;
        let plan = planned(vec![rule("eth0", &["0.0.0.0/0"])], &snapshot).unwrap();
        assert_eq!(plan.uplinks[0].uplink.link_header, 0);
    }

    #[test]
    fn an_uplink_that_is_down_keeps_its_addresses() {
        let mut snapshot = snapshot();
        snapshot.links[2].up = false;
        let plan = planned(vec![rule("eth0", &["0.0.0.0/0"])], &snapshot).unwrap();
        assert!(!plan.uplinks[0].up);
        assert_eq!(plan.uplinks[0].uplink.address_count, 1);
        assert!(plan.warnings[0].contains("ip link set eth0 up"), "{:?}", plan.warnings);
    }

    #[test]
    fn what_surprises_is_said() {
        let mut snapshot = snapshot();
        snapshot.addresses.retain(|address| address.interface != 3);
        let borrowing = planned(vec![rule("eth0", &["0.0.0.0/0"])], &snapshot).unwrap();
        assert!(borrowing.warnings[0].contains("takes 10.0.0.1 of lan0"), "{:?}", borrowing.warnings);

        snapshot.addresses.extend((0..9).map(|i| address(3, [198, 18, i, 1])));
        let many = planned(vec![rule("eth0", &["198.18.4.0/24"])], &snapshot).unwrap();
        assert!(many.warnings[0].contains("eth0 has 9 addresses"), "{:?}", many.warnings);
        assert!(many.warnings[1].contains("198.18.4.0/24 holds 198.18.4.1"), "{:?}", many.warnings);
        assert_eq!(many.uplinks[0].uplink.address_count as usize, MAX_ADDRESSES);

        snapshot.addresses.clear();
        let none = planned(vec![rule("eth0", &["0.0.0.0/0"])], &snapshot).unwrap();
        assert_eq!(none.without_address(), ["eth0"]);
    }
}
