//! Where inside hosts are: the interfaces whose packets are looked at for hairpinning.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;

use super::{Plan, PlanError, PlannedRule, Refused, find};
use crate::{
    config::{Action, Config, Networks, Translation},
    datapath::Role,
    network::{Link, Snapshot},
};

/// Length of an Ethernet header, which the program looks for.
const ETHERNET: u32 = 14;

/// An interface that inside hosts send by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedInside {
    pub name: String,
    /// Interface index.
    pub interface: u32,
    /// It is named, and not only found by what is behind it.
    pub named: bool,
}

/// What has to be behind an interface.
enum Wanted<'a> {
    Named(&'a str),
    /// Some address of these.
    Behind(Networks),
}

impl Config {
    /// Whether routes decide something.
    pub fn wants_routes(&self) -> bool {
        self.looks_for_inside() || self.looks_for_ports()
    }

    /// Whether the interfaces of hairpinning are found by address and route.
    pub(super) fn looks_for_inside(&self) -> bool {
        let found =
            |translation: &Translation| translation.behaviour.hairpin && translation.inside.is_empty();
        let by_rule = self
            .rules
            .iter()
            .any(|rule| matches!(&rule.action, Action::Masquerade(translation) if found(translation)));
        by_rule
            || self.forwards.iter().any(|forward| forward.hairpin)
            || self.floating.iter().any(|floating| floating.hairpin)
    }
}

impl Plan {
    pub(super) fn find_inside(
        &mut self,
        config: &Config,
        rules: &[PlannedRule<'_>],
        snapshot: &Snapshot,
        refused: &Refused,
    ) -> Result<(), PlanError> {
        let wanted = self.wanted(config, rules);
        let networks = wanted.iter().filter_map(|wanted| match wanted {
            Wanted::Named(_) => None,
            Wanted::Behind(networks) => Some(networks),
        });
        let leading = leading_to(&networks.collect::<Vec<_>>(), snapshot);
        for link in snapshot.links.iter().filter(|link| leading.contains(&link.index)) {
            if link.up && link.link_header() == Some(ETHERNET) {
                self.add_inside(link, false, refused);
            }
        }
        for name in wanted.iter().filter_map(|wanted| match wanted {
            Wanted::Named(name) => Some(*name),
            Wanted::Behind(_) => None,
        }) {
            let Some(link) = find(name, snapshot, self.missing)? else { continue };
            if link.link_header() != Some(ETHERNET) {
                self.refuse(link, Role::Inside, true, PlanError::InsideLinkLayer(name.to_owned()))?;
                continue;
            }
            if self.is_uplink(link) {
                self.refuse(link, Role::Inside, true, PlanError::InsideUplink(name.to_owned()))?;
                continue;
            }
            self.add_inside(link, true, refused);
        }
        Ok(())
    }

    fn add_inside(&mut self, link: &Link, named: bool, refused: &Refused) {
        if let Some(known) = self.inside.iter_mut().find(|inside| inside.interface == link.index) {
            known.named |= named;
            return;
        }
        if self.is_uplink(link) || link.name == "lo" {
            return;
        }
        match refused.get(&(link.index, Role::Inside)) {
            Some(reason) => self.leave_out(link, Role::Inside, reason.clone()),
            None => {
                let name = link.name.clone();
                self.inside.push(PlannedInside { name, interface: link.index, named });
            }
        }
    }

    /// One that is left out has instances behind it as little as one that is not.
    pub(super) fn is_uplink(&self, link: &Link) -> bool {
        let left_out = self.left_out.iter().filter(|left| left.role == Role::Uplink);
        let mut uplinks = self.uplinks.iter().map(|uplink| uplink.interface);
        uplinks.any(|index| index == link.index)
            || left_out.into_iter().any(|left| left.interface == link.index)
    }

    /// Rules with hairpin want their sources, forwards and floating addresses their host and whoever the rules of their
    /// uplink masquerade, since nobody else is translated on the way round.
    fn wanted<'a>(&self, config: &Config, rules: &[PlannedRule<'a>]) -> Vec<Wanted<'a>> {
        let targets = config
            .forwards
            .iter()
            .map(|forward| (forward.hairpin, &forward.uplink, forward.redirection.to.address));
        let hosts =
            config.floating.iter().map(|floating| (floating.hairpin, &floating.uplink, floating.pair.inside));
        let reached: Vec<_> = targets.chain(hosts).filter(|(hairpin, ..)| *hairpin).collect();
        let mut wanted: Vec<Wanted<'a>> =
            reached.iter().map(|(.., host)| Wanted::Behind(Networks::from(*host))).collect();
        for planned in rules {
            let Action::Masquerade(translation) = &planned.rule.action else { continue };
            let serves = |uplink: &u32| {
                let planned = self.uplinks.iter().find(|planned| planned.interface == *uplink);
                planned.is_some_and(|planned| reached.iter().any(|(_, name, _)| **name == planned.name))
            };
            if !translation.behaviour.hairpin && !planned.uplinks.iter().any(serves) {
                continue;
            }
            match &translation.inside[..] {
                [] => wanted.push(Wanted::Behind(planned.rule.sources.clone())),
                names => wanted.extend(names.iter().map(|name| Wanted::Named(name))),
            }
        }
        wanted
    }
}

/// Indexes of the interfaces that have an address whose subnet has some of the networks' addresses, or a route to some. The route to
/// everything says nothing.
pub(super) fn leading_to(networks: &[&Networks], snapshot: &Snapshot) -> BTreeSet<u32> {
    let connected = snapshot.addresses.iter().filter_map(|address| {
        Some((address.interface, Ipv4Net::new(address.peer, address.prefix_length).ok()?.trunc()))
    });
    let routed = snapshot.routes.iter().filter(|route| route.network.prefix_len() > 0);
    let mut leading = BTreeSet::new();
    for (interface, network) in connected.chain(routed.map(|route| (route.interface, route.network.trunc())))
    {
        // There may be a million routes, and most of them by one interface.
        if !leading.contains(&interface) && networks.iter().any(|networks| networks.touches(network)) {
            leading.insert(interface);
        }
    }
    leading
}
