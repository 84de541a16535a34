//! `[[masquerade]]`, and the options of `natbpf masquerade` that are a rule.

use clap::{ArgAction, Args, value_parser};
use ipnet::Ipv4Net;
use serde::Deserialize;

use super::{
    said::{Flag, Said, Wrong, flag, items},
    section::section,
};
use crate::config::{
    Action, AddressPool, AddressRange, Behaviour, Filtering, Interfaces, Mapping, MasqueradeRule,
    NetworkMatch, Networks, Ports, Problem, Profile, Quota, Translation, Unsolicited,
};

/// Options of how to translate stand apart in the help.
const BEHAVIOUR: &str = "Behaviour";

section! {
    #[derive(Args)]
    "[[masquerade]]" "in order: the first rule that matches a new flow decides"
    pub struct RuleKeys {
        /// The uplink: packets that leave by this interface get its address. "eth*" for all that begin so, "!eth0" for
        /// all others
        #[arg(short, long = "out-interface", alias = "out", value_name = "IF")]
        out: Said<Interfaces> = r#""eth0""# r#"or "eth*": all that begin so; "!eth0": all others"#;

        /// Masquerade packets from this network only, with "!" from all but this one; may be repeated [default:
        /// every source]
        #[arg(short, long, alias = "src", value_name = "NET")]
        source: Option<Vec<Said<NetworkMatch>>> = r#"["10.0.0.0/24", "!10.0.0.5"]"#
            r#"left out: every source; "!": not these"#;

        /// Masquerade packets to this network only, with "!" to all but this one; may be repeated
        #[arg(short, long, alias = "dst", value_name = "NET")]
        destination: Option<Vec<Said<NetworkMatch>>> = r#"["!192.0.2.0/24"]"#
            "left out: every destination; where none matches the next rule is asked";

        /// Leave packets to this network alone; may be repeated
        #[arg(long, value_name = "NET")]
        except: Option<Vec<Said<Ipv4Net>>> = r#"["10.0.0.0/8"]"# "destinations left alone; no later rule is asked";

        #[arg(skip)]
        action: Option<Deed> = r#""masquerade""# r#"or "exempt": what matches is left alone"#;

        /// A set of defaults for the options below
        #[arg(long, help_heading = BEHAVIOUR, value_enum, value_name = "NAME")]
        profile: Option<Profile> = r#""rfc""#
            r#"or "netfilter": sets the defaults of other keys below"#;

        /// Which packets of one inside address and port share an external port [default: endpoint-independent]
        #[arg(long, help_heading = BEHAVIOUR, value_enum, value_name = "HOW")]
        mapping: Option<Mapping> = r#""endpoint-independent""# r#"or "address-and-port-dependent""#;

        /// Who outside may send to that port [default: address-and-port-dependent]
        #[arg(long, help_heading = BEHAVIOUR, value_enum, value_name = "HOW")]
        filtering: Option<Filtering> = r#""endpoint-independent""#
            r#"or "address-dependent", "address-and-port-dependent""#;

        /// Packets from outside do not keep a flow alive
        #[arg(long = "no-inbound-refresh", help_heading = BEHAVIOUR, action = ArgAction::SetTrue,
              value_parser = flag(false))]
        inbound_refresh: Flag = "false" "packets from outside keep a flow alive";

        /// Let inside hosts reach each other by external addresses
        #[arg(long, help_heading = BEHAVIOUR, value_name = "BOOL", num_args = 0..=1, require_equals = true,
              default_missing_value = "true")]
        hairpin: Option<bool> = "true" "inside hosts reach each other by external addresses";

        /// With --hairpin: an interface where inside hosts are; may be repeated [default: found by address and route]
        #[arg(long, help_heading = BEHAVIOUR, value_name = "IF")]
        inside: Option<Vec<Said<String>>> = r#"["br0"]"#
            "where inside hosts are; left out: found by address and route";

        /// An inside port whose traffic goes straight to the uplink and back; "veth*" for all that begin so, a
        /// bridge for its ports; may be repeated [default: found by address and route]
        #[arg(short = 'i', long = "port", alias = "in-interface", value_name = "PORT")]
        ports: Option<Vec<Said<Interfaces>>> = r#"["vnet0", "veth*"]"#
            "inside ports to offload; left out: found by address and route";

        /// What becomes of a SYN from outside that nobody wants [default: answer]
        #[arg(long, help_heading = BEHAVIOUR, value_enum, value_name = "HOW")]
        unsolicited: Option<Unsolicited> = r#""drop""# r#"a SYN that nobody wants; or "answer": the host's RST"#;

        /// External addresses, of which each source gets one; may be repeated [default: the uplink's address]
        #[arg(long, value_name = "ADDR[-ADDR]")]
        to: Option<Vec<Said<AddressRange>>> = r#"["203.0.113.1", "203.0.113.9-203.0.113.11"]"#
            "left out: the uplink's address";

        /// External ports of TCP and UDP [default: the source port where it is free, else one of its kind]
        #[arg(long, value_name = "A-B")]
        to_ports: Option<Said<Ports>> = r#""50000-50010""# "TCP and UDP; left out: the source port where it is free";

        /// A random external port for every mapping
        #[arg(long, action = ArgAction::SetTrue, value_parser = flag(true))]
        random: Flag = "false" "a random port for every mapping";

        /// How many flows a source may have at a time, 0 for no limit [default: a quarter of --max-flows, at most
        /// 32256]
        #[arg(long, help_heading = BEHAVIOUR, value_name = "N")]
        max_flows_per_source: Option<u32> = "20000"
            "0: no limit; left out: a quarter of max_flows, at most 32256";

        /// How many flows a source may begin in a second, 0 for no limit [default: 0]
        #[arg(long, help_heading = BEHAVIOUR, value_name = "N",
              value_parser = value_parser!(u32).range(..=i64::from(Translation::MAX_RATE)))]
        new_flows_per_second: Option<u32> = "0" "for each source; 0: no limit";
    }
}

/// What is done with what matches.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    #[default]
    Masquerade,
    Exempt,
}

impl RuleKeys {
    pub fn rule(&self) -> Result<MasqueradeRule, Wrong> {
        let action = match self.action.unwrap_or_default() {
            Deed::Masquerade => Action::Masquerade(self.translation()?),
            Deed::Exempt => Action::Exempt,
        };
        Ok(MasqueradeRule {
            out: self.out.of("out")?,
            sources: networks("source", self.source.as_ref(), Problem::NoSource)?,
            destinations: networks("destination", self.destination.as_ref(), Problem::NoDestination)?,
            action,
        })
    }

    /// Where nothing is translated, nothing that is about a translation may be written.
    pub fn check_exempt(&self, written: impl Fn(&str) -> bool) -> Result<(), Wrong> {
        let meaningless =
            |key: &&str| !["out", "source", "destination", "action"].contains(key) && written(key);
        match Self::EXAMPLE.iter().map(|row| row.0).find(meaningless) {
            Some(key) if self.action == Some(Deed::Exempt) => {
                Err(Wrong::at(key)(Problem::Meaningless { key }))
            }
            _ => Ok(()),
        }
    }

    fn translation(&self) -> Result<Translation, Wrong> {
        let behaviour = self.behaviour()?;
        if self.inside.is_some() && !behaviour.hairpin {
            return Err(Wrong::at("inside")(Problem::InsideWithoutHairpin));
        }
        let inside = items("inside", self.inside.as_ref()).collect::<Result<_, _>>()?;
        let except = items("except", self.except.as_ref()).collect::<Result<_, _>>()?;
        not_empty("ports", self.ports.as_ref(), Problem::NoPort)?;
        let ports = items("ports", self.ports.as_ref()).collect::<Result<_, _>>()?;
        not_empty("to", self.to.as_ref(), Problem::NoPool)?;
        let to: Vec<_> = items("to", self.to.as_ref()).collect::<Result<_, _>>()?;
        let pool = AddressPool::collect(&to).map_err(Wrong::at("to"))?;
        let to_ports = self.to_ports.as_ref().map(|said| said.of("to_ports")).transpose()?;
        let random = self.random.unwrap_or_default();
        let new_flows_per_second = self.new_flows_per_second.unwrap_or_default();
        if new_flows_per_second > Translation::MAX_RATE {
            return Err(Wrong::at("new_flows_per_second")(Problem::Rate(new_flows_per_second)));
        }
        Ok(Translation { except, behaviour, inside, ports, pool, to_ports, random, new_flows_per_second })
    }

    fn behaviour(&self) -> Result<Behaviour, Wrong> {
        let default = Behaviour::of(self.profile);
        let behaviour = Behaviour {
            mapping: self.mapping.unwrap_or(default.mapping),
            filtering: self.filtering.unwrap_or(default.filtering),
            hairpin: self.hairpin.unwrap_or(default.hairpin),
            inbound_refresh: self.inbound_refresh.unwrap_or(default.inbound_refresh),
            unsolicited: self.unsolicited.unwrap_or(default.unsolicited),
            max_flows_per_source: self
                .max_flows_per_source
                .map_or(default.max_flows_per_source, Quota::Flows),
        };
        let key = match (self.filtering, self.mapping) {
            (Some(_), _) => "filtering",
            (None, Some(_)) => "mapping",
            (None, None) => "out",
        };
        behaviour.check().map_err(Wrong::at(key))?;
        Ok(behaviour)
    }
}

fn not_empty<T>(key: &'static str, list: Option<&Vec<Said<T>>>, problem: Problem) -> Result<(), Wrong> {
    if list.is_some_and(Vec::is_empty) { Err(Wrong::at(key)(problem)) } else { Ok(()) }
}

fn networks(
    key: &'static str,
    list: Option<&Vec<Said<NetworkMatch>>>,
    if_empty: Problem,
) -> Result<Networks, Wrong> {
    not_empty(key, list, if_empty)?;
    let mut networks = Networks::default();
    for (item, network) in items(key, list).enumerate() {
        let twice = |error| Wrong { item: Some(item), ..Wrong::at(key)(error) };
        networks.add(network?).map_err(twice)?;
    }
    Ok(networks)
}
