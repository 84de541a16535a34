//! How a rule translates, in the words of RFC 4787: each question has a default, which a profile changes and
//! the operator overrules.

use super::{Filtering, Mapping, Profile, Unsolicited};

/// All questions answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    pub mapping: Mapping,
    pub filtering: Filtering,
    /// Inside hosts reach each other by external addresses.
    pub hairpin: bool,
    /// Packets from outside keep a flow alive.
    pub inbound_refresh: bool,
    pub unsolicited: Unsolicited,
    pub max_flows_per_source: Quota,
}

/// How many flows a source may have at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// A quarter of what the table holds, and at most half of the ports of an address. Rows S02, S03.
    Quarter,
    /// So many; 0: no limit.
    Flows(u32),
}

/// Answers that do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "filtering {filtering} goes with mapping endpoint-independent alone, since a mapping for one destination \
     has no port that others could send to; choose filtering address-and-port-dependent, or leave the mapping out"
)]
pub struct Contradiction {
    filtering: Filtering,
}

impl Behaviour {
    /// Whether the answers go together.
    pub const fn check(&self) -> Result<(), Contradiction> {
        match (self.mapping, self.filtering) {
            (Mapping::EndpointIndependent, _) | (_, Filtering::AddressAndPortDependent) => Ok(()),
            (Mapping::AddressAndPortDependent, filtering) => Err(Contradiction { filtering }),
        }
    }

    /// What is so where nothing else is said.
    pub const fn of(profile: Option<Profile>) -> Self {
        let plain = Self {
            mapping: Mapping::EndpointIndependent,
            filtering: Filtering::AddressAndPortDependent,
            hairpin: false,
            inbound_refresh: true,
            unsolicited: Unsolicited::Answer,
            max_flows_per_source: Quota::Quarter,
        };
        match profile {
            None => plain,
            Some(Profile::Netfilter) => Self {
                mapping: Mapping::AddressAndPortDependent,
                max_flows_per_source: Quota::Flows(0),
                ..plain
            },
            Some(Profile::Rfc) => Self {
                filtering: Filtering::EndpointIndependent,
                hairpin: true,
                inbound_refresh: false,
                unsolicited: Unsolicited::Drop,
                ..plain
            },
        }
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::of(None)
    }
}

/// Of those that flows mostly have, 1024 to 65535: so much of one external address a source may take where
/// nothing else is said.
const HALF_THE_PORTS: u32 = (65536 - 1024) / 2;

impl Quota {
    /// The limit of a table of this size; 0: none.
    pub const fn limit(self, max_flows: u32) -> u32 {
        match self {
            Self::Quarter => {
                let quarter = max_flows / 4;
                if quarter < HALF_THE_PORTS { quarter } else { HALF_THE_PORTS }
            }
            Self::Flows(flows) => flows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{
        Action,
        keys::{RuleKeys, Wrong},
    };

    /// The behaviour of a rule with these keys.
    fn said(profile: Option<Profile>, keys: &str) -> Result<Behaviour, Wrong> {
        let mut rule: RuleKeys = toml::from_str(&format!("out = \"eth0\"\n{keys}")).unwrap();
        rule.profile = profile;
        match rule.rule()?.action {
            Action::Masquerade(translation) => Ok(translation.behaviour),
            Action::Exempt => panic!("nothing is translated"),
        }
    }

    #[test]
    fn a_profile_is_a_set_of_defaults() {
        let of = |profile| said(profile, "").unwrap();
        let plain = of(None);
        assert_eq!(plain, Behaviour::default());
        assert_eq!(plain.max_flows_per_source.limit(1000), 250);
        let netfilter = of(Some(Profile::Netfilter));
        assert_eq!(netfilter.mapping, Mapping::AddressAndPortDependent);
        assert_eq!(netfilter.filtering, Filtering::AddressAndPortDependent);
        assert_eq!(netfilter.max_flows_per_source.limit(1000), 0);
        assert!(netfilter.inbound_refresh && !netfilter.hairpin);
        let rfc = of(Some(Profile::Rfc));
        assert_eq!(
            (rfc.mapping, rfc.filtering),
            (Mapping::EndpointIndependent, Filtering::EndpointIndependent)
        );
        assert_eq!(rfc.unsolicited, Unsolicited::Drop);
        assert!(rfc.hairpin && !rfc.inbound_refresh);
    }

    #[test]
    fn what_is_said_wins_over_the_profile() {
        let all = "filtering = \"address-dependent\"\nhairpin = false\ninbound_refresh = true\n\
                   unsolicited = \"answer\"\nmax_flows_per_source = 7";
        let behaviour = said(Some(Profile::Rfc), all).unwrap();
        assert_eq!(behaviour.filtering, Filtering::AddressDependent);
        assert_eq!(behaviour.unsolicited, Unsolicited::Answer);
        assert_eq!(behaviour.max_flows_per_source, Quota::Flows(7));
        assert!(behaviour.inbound_refresh && !behaviour.hairpin);
    }

    #[test]
    fn open_filtering_needs_a_mapping_to_be_open() {
        let per_destination = "mapping = \"address-and-port-dependent\"\n";
        let with = |filtering: Filtering| format!("{per_destination}filtering = \"{filtering}\"");
        for filtering in [Filtering::EndpointIndependent, Filtering::AddressDependent] {
            let error = said(None, &with(filtering)).unwrap_err();
            assert_eq!(error.to_string(), Contradiction { filtering }.to_string());
        }
        assert!(said(Some(Profile::Rfc), per_destination).is_err());
        assert!(said(Some(Profile::Rfc), &with(Filtering::AddressAndPortDependent)).is_ok());
        assert!(said(Some(Profile::Netfilter), "").is_ok());
    }
}
