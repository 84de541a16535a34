//! Which interfaces are uplinks, and the addresses that they masquerade with.

use std::{collections::BTreeSet, fmt, net::Ipv4Addr};

use natbpf_common::{
    IfIndex,
    contract::uplinks::{MAX_ADDRESSES, MAX_UPLINKS, Uplink, UplinkAddress, UplinkFlags},
};

use super::{Given, LeftOut, PlanError, left_out::leave_out};
use crate::{
    address::masquerade_addresses,
    datapath::Role,
    network::{Link, Snapshot},
};

/// An uplink as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedUplink {
    pub name: String,
    /// Interface index.
    pub interface: IfIndex,
    /// Administratively up. The flows of an uplink that is down are over.
    pub up: bool,
    /// Zeros where the link layer has none.
    pub mac: [u8; 6],
    /// It is named, and not only matched by a pattern.
    pub named: bool,
    /// Has its addresses even if it is down.
    pub uplink: Uplink,
}

/// All of them.
#[derive(Default)]
pub struct Uplinks {
    /// In the order in which the configuration names them, each once.
    pub planned: Vec<PlannedUplink>,
    /// For each rule the interface indexes of those that it is for.
    pub of_rules: Vec<Vec<IfIndex>>,
    pub left_out: Vec<LeftOut>,
}

impl Uplinks {
    pub fn find(given: &Given<'_>) -> Result<Self, PlanError> {
        let mut uplinks = Self::default();
        let named = named(given);
        for rule in &given.config.rules {
            let mut of_rule = Vec::new();
            for link in given.links(&rule.out)? {
                if uplinks.add(link, rule.out.name().is_some(), &named, given)? {
                    of_rule.push(link.index);
                }
            }
            uplinks.of_rules.push(of_rule);
        }
        let forwards = given.config.forwards.iter().map(|forward| &forward.uplink);
        for name in forwards.chain(given.config.floating.iter().map(|floating| &floating.uplink)) {
            if let Some(link) = given.find(name)? {
                uplinks.add(link, true, &named, given)?;
            }
        }
        Ok(uplinks)
    }

    /// One that is left out has instances behind it as little as one that is not.
    pub fn has(&self, link: &Link) -> bool {
        self.planned.iter().any(|uplink| uplink.interface == link.index)
            || self.left_out.iter().any(|left| left.interface == link.index)
    }

    /// `named` are the interface indexes of all that are named somewhere. False: it is left out.
    fn add(
        &mut self,
        link: &Link,
        named_here: bool,
        named: &BTreeSet<IfIndex>,
        given: &Given<'_>,
    ) -> Result<bool, PlanError> {
        let is_named = named_here || named.contains(&link.index);
        if let Some(known) = self.planned.iter_mut().find(|uplink| uplink.interface == link.index) {
            known.named |= is_named;
            return Ok(true);
        }
        if let Some(reason) = given.refused.get(&(link.index, Role::Uplink)) {
            leave_out(&mut self.left_out, link, Role::Uplink, reason.clone());
            return Ok(false);
        }
        let error = match link.link_header() {
            None => PlanError::LinkLayer { name: link.name.clone(), link_layer: link.link_layer },
            Some(_) if !self.has_room(link, named) => PlanError::TooManyUplinks(link.name.clone()),
            Some(link_header) => {
                self.planned.push(PlannedUplink::new(link, link_header, is_named, given.snapshot));
                return Ok(true);
            }
        };
        leave_out(&mut self.left_out, link, Role::Uplink, given.reason(is_named, error)?);
        Ok(false)
    }

    /// Whatever else a pattern matches, an interface that is named has a place.
    fn has_room(&self, link: &Link, named: &BTreeSet<IfIndex>) -> bool {
        let is_planned = |index: &IfIndex| self.planned.iter().any(|uplink| uplink.interface == *index);
        let named_still = named.iter().filter(|index| !is_planned(index)).count();
        let reserved = if named.contains(&link.index) { 0 } else { named_still };
        self.planned.len() + reserved < MAX_UPLINKS
    }
}

/// Interface indexes of the uplinks that are named, and not only matched by a pattern.
fn named(given: &Given<'_>) -> BTreeSet<IfIndex> {
    let rules = given.config.rules.iter().filter_map(|rule| rule.out.name());
    let forwards = given.config.forwards.iter().map(|forward| &*forward.uplink);
    let floating = given.config.floating.iter().map(|floating| &*floating.uplink);
    let names: BTreeSet<&str> = rules.chain(forwards).chain(floating).collect();
    let named = given.snapshot.links.iter().filter(|link| names.contains(&*link.name));
    named.map(|link| link.index).collect()
}

impl PlannedUplink {
    fn new(link: &Link, link_header: u32, named: bool, snapshot: &Snapshot) -> Self {
        let found = masquerade_addresses(snapshot, link.index);
        let mut addresses = [UplinkAddress::default(); MAX_ADDRESSES];
        addresses[..found.len()].copy_from_slice(&found);
        let address_count = found.len() as u32;
        Self {
            name: link.name.clone(),
            interface: link.index,
            up: link.up,
            mac: link.mac.unwrap_or_default(),
            named,
            uplink: Uplink {
                interface: link.index,
                link_header,
                flags: UplinkFlags::empty(),
                address_count,
                addresses,
            },
        }
    }

    /// Those that it masquerades with.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        let addresses = self.uplink.addresses.iter().take(self.uplink.address_count as usize);
        addresses.map(|address| Ipv4Addr::from(address.local))
    }

    pub fn has(&self, address: Ipv4Addr) -> bool {
        self.addresses().any(|own| own == address)
    }
}

/// `eth0 (203.0.113.1)`
impl fmt::Display for PlannedUplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.addresses().map(|address| address.to_string()).collect();
        let addresses = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") };
        let state = if self.up { "" } else { ", down" };
        write!(f, "{} ({addresses}{state})", self.name)
    }
}
