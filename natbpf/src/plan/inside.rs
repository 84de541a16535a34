//! Where inside hosts are: the interfaces whose packets are looked at for hairpinning.

use natbpf_common::IfIndex;

use super::{
    Given, LeftOut, PlanError, PlannedUplink, Refused,
    leading::leading_to,
    left_out::leave_out,
    rules::{PlannedRule, translation},
    uplinks::Uplinks,
};
use crate::{
    config::{Config, Networks},
    datapath::Role,
    network::Link,
};

/// Length of an Ethernet header, which the program looks for.
const ETHERNET: u32 = 14;

/// An interface that inside hosts send by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedInside {
    pub name: String,
    /// Interface index.
    pub interface: IfIndex,
    /// It is named, and not only found by what is behind it.
    pub named: bool,
}

/// Which interfaces are meant.
struct Wanted<'a> {
    named: Vec<&'a str>,
    /// Those that have some address of these behind them.
    behind: Vec<Networks>,
}

impl Config {
    /// Whether the interfaces of hairpinning are found by address and route.
    pub(super) fn looks_for_inside(&self) -> bool {
        let mut translations = self.rules.iter().filter_map(translation);
        translations.any(|translation| translation.behaviour.hairpin && translation.inside.is_empty())
            || self.forwards.iter().any(|forward| forward.hairpin)
            || self.floating.iter().any(|floating| floating.hairpin)
    }
}

/// All of them.
#[derive(Default)]
pub struct Inside {
    pub planned: Vec<PlannedInside>,
    pub left_out: Vec<LeftOut>,
}

impl Inside {
    pub fn find(given: &Given<'_>, uplinks: &Uplinks, rules: &[PlannedRule<'_>]) -> Result<Self, PlanError> {
        let mut inside = Self::default();
        let wanted = wanted(given.config, &uplinks.planned, rules);
        let leading = leading_to(&wanted.behind, given.snapshot);
        for link in given.snapshot.links.iter().filter(|link| leading.contains(&link.index)) {
            if link.up && link.link_header() == Some(ETHERNET) && !uplinks.has(link) {
                inside.add(link, false, given.refused);
            }
        }
        for name in wanted.named {
            let Some(link) = given.find(name)? else { continue };
            let error = if link.link_header() != Some(ETHERNET) {
                PlanError::InsideLinkLayer(name.to_owned())
            } else if uplinks.has(link) {
                PlanError::InsideUplink(name.to_owned())
            } else {
                inside.add(link, true, given.refused);
                continue;
            };
            leave_out(&mut inside.left_out, link, Role::Inside, given.reason(true, error)?);
        }
        Ok(inside)
    }

    fn add(&mut self, link: &Link, named: bool, refused: &Refused) {
        if let Some(known) = self.planned.iter_mut().find(|inside| inside.interface == link.index) {
            known.named |= named;
            return;
        }
        if link.name == "lo" {
            return;
        }
        let (name, interface) = (link.name.clone(), link.index);
        match refused.get(&(interface, Role::Inside)) {
            Some(reason) => leave_out(&mut self.left_out, link, Role::Inside, reason.clone()),
            None => self.planned.push(PlannedInside { name, interface, named }),
        }
    }
}

/// Rules with hairpin want their sources. Forwards and floating addresses want their host, and the sources that rules
/// of their uplink masquerade, since nothing else is translated on the path round.
fn wanted<'a>(config: &Config, uplinks: &[PlannedUplink], rules: &[PlannedRule<'a>]) -> Wanted<'a> {
    let forwards = config.forwards.iter().filter(|forward| forward.hairpin);
    let targets = forwards.map(|forward| (&forward.uplink, forward.redirection.to.address));
    let floating = config.floating.iter().filter(|floating| floating.hairpin);
    let hosts = floating.map(|floating| (&floating.uplink, floating.pair.inside));
    let reached: Vec<_> = targets.chain(hosts).collect();
    let behind = reached.iter().map(|(_, host)| Networks::from(*host)).collect();
    let mut wanted = Wanted { named: Vec::new(), behind };
    for planned in rules {
        let Some(translation) = planned.translation() else { continue };
        let serves = |uplink: &IfIndex| {
            let planned = uplinks.iter().find(|planned| planned.interface == *uplink);
            planned.is_some_and(|planned| reached.iter().any(|(name, _)| **name == planned.name))
        };
        if !translation.behaviour.hairpin && !planned.uplinks.iter().any(serves) {
            continue;
        }
        match &translation.inside[..] {
            [] => wanted.behind.push(planned.rule.sources.clone()),
            names => wanted.named.extend(names.iter().map(|name| &**name)),
        }
    }
    wanted
}
