//! Which limits a source has, by the plan in force.

use std::net::Ipv4Addr;

use natbpf_common::{
    Address, IfIndex, SECOND,
    contract::rules::{PREFIX_BASE, Rule, RuleFlags},
};

use crate::plan::Plan;

/// The limits of a source; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    pub max_flows_per_source: u32,
    pub new_flows_per_second: u64,
}

impl Quota {
    /// Those that packets from a source to a destination are under. None where rules for different uplinks
    /// have different ones: which of them it was, nobody has said.
    pub fn of(plan: &Plan, source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        let mut quotas = plan.uplinks.iter().filter_map(|uplink| {
            let rule = rule(plan, uplink.interface, source, destination)?;
            Some(Self {
                max_flows_per_source: rule.max_flows,
                new_flows_per_second: SECOND.number().checked_div(rule.interval.into()).unwrap_or(0),
            })
        });
        let first = quotas.next().unwrap_or_default();
        if quotas.all(|other| other == first) { first } else { Self::default() }
    }
}

/// As the datapath finds it: by the longest prefix.
fn rule(plan: &Plan, uplink: IfIndex, source: Ipv4Addr, destination: Ipv4Addr) -> Option<Rule> {
    let sources = plan.sources.iter().filter(|(_, key, _)| key.uplink == uplink);
    let rule = longest(sources.map(|(length, key, rule)| (*length, key.source, rule)), source)?;
    if !rule.has(RuleFlags::DESTINATIONS) {
        return Some(*rule);
    }
    let destinations = plan.destinations.iter().filter(|(_, key, _)| key.rule == rule.id);
    longest(destinations.map(|(length, key, rule)| (*length, key.destination, rule)), destination).copied()
}

fn longest<'a>(
    entries: impl Iterator<Item = (u32, Address, &'a Rule)>,
    address: Ipv4Addr,
) -> Option<&'a Rule> {
    let address = Address::from(address);
    let matching = entries.filter(|(length, network, _)| {
        let mask = Address::mask(length.saturating_sub(PREFIX_BASE) as u8);
        address.masked(mask) == network.masked(mask)
    });
    matching.max_by_key(|(length, ..)| *length).map(|(.., rule)| rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        plan::{Missing, plan, tests::snapshot},
    };

    fn planned(rules: &str) -> Plan {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), rules).unwrap();
        plan(&Config::from_file(file.path()).unwrap(), &snapshot(), Missing::Refused).unwrap()
    }

    fn of(plan: &Plan, source: &str, destination: &str) -> (u32, u64) {
        let quota = Quota::of(plan, source.parse().unwrap(), destination.parse().unwrap());
        (quota.max_flows_per_source, quota.new_flows_per_second)
    }

    #[test]
    fn the_rule_that_decides_has_the_limits() {
        let plan = planned(
            r#"
            [[masquerade]]
            out = "eth0"
            source = ["10.0.0.11/32"]
            destination = ["192.0.2.0/24"]
            max_flows_per_source = 5
            [[masquerade]]
            out = "eth0"
            source = ["10.0.0.0/24"]
            max_flows_per_source = 100
            new_flows_per_second = 30000
            [[masquerade]]
            out = "eth0"
            source = ["10.0.1.0/24"]
            max_flows_per_source = 0
            "#,
        );
        assert_eq!(of(&plan, "10.0.0.11", "192.0.2.9"), (5, 0));
        assert_eq!(of(&plan, "10.0.0.11", "203.0.113.10"), (100, 30000));
        assert_eq!(of(&plan, "10.0.0.12", "192.0.2.9"), (100, 30000));
        assert_eq!(of(&plan, "10.0.1.12", "192.0.2.9"), (0, 0));
        assert_eq!(of(&plan, "172.16.0.1", "192.0.2.9"), (0, 0));
    }

    #[test]
    fn uplinks_that_disagree_name_none() {
        let rule = |out: &str, max: u32| {
            format!(
                "[[masquerade]]\nout = \"{out}\"\nsource = [\"10.0.0.0/24\"]\nmax_flows_per_source = {max}\n"
            )
        };
        let same = planned(&(rule("eth0", 7) + &rule("ppp0", 7)));
        assert_eq!(of(&same, "10.0.0.11", "192.0.2.9"), (7, 0));
        let different = planned(&(rule("eth0", 7) + &rule("ppp0", 8)));
        assert_eq!(of(&different, "10.0.0.11", "192.0.2.9"), (0, 0));
    }
}
