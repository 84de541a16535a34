//! The options of `natbpf masquerade` that are a rule: what `[[masquerade]]` is in a file.

use clap::{Args, value_parser};
use ipnet::Ipv4Net;

use crate::config::{
    Action, AddressPool, AddressRange, Choices, Filtering, Interfaces, Mapping, MasqueradeRule, NetworkMatch,
    Networks, Ports, Problem, Profile, Translation, Unsolicited, values,
};

/// Options of how to translate stand apart in the help.
const BEHAVIOUR: &str = "Behaviour";

#[derive(Clone, Debug, Args)]
pub struct RuleArgs {
    /// The uplink: packets that leave by this interface get its address. "eth*" for all that begin so, "!eth0" for all
    /// others
    #[arg(short, long = "out-interface", alias = "out", value_name = "IF")]
    pub out: Interfaces,

    /// Masquerade packets from this network only, with "!" from all but this one; may be repeated [default:
    /// every source]
    #[arg(short, long = "source", alias = "src", value_name = "NET")]
    pub sources: Vec<NetworkMatch>,

    /// Masquerade packets to this network only, with "!" to all but this one; may be repeated
    #[arg(short, long = "destination", alias = "dst", value_name = "NET")]
    pub destinations: Vec<NetworkMatch>,

    /// Leave packets to this network alone; may be repeated
    #[arg(long, value_name = "NET", value_parser = values::network)]
    pub except: Vec<Ipv4Net>,

    /// An inside port whose traffic goes straight to the uplink and back; "veth*" for all that begin so, a
    /// bridge for its ports; may be repeated [default: found by address and route]
    #[arg(short = 'i', long = "port", alias = "in-interface", value_name = "PORT")]
    pub ports: Vec<Interfaces>,

    /// External addresses, of which each source gets one; may be repeated [default: the uplink's address]
    #[arg(long, value_name = "ADDR[-ADDR]")]
    pub to: Vec<AddressRange>,

    /// External ports of TCP and UDP [default: the source port where it is free, else one of its kind]
    #[arg(long, value_name = "A-B")]
    pub to_ports: Option<Ports>,

    /// A random external port for every mapping
    #[arg(long)]
    pub random: bool,

    /// A set of defaults for the options below
    #[arg(long, help_heading = BEHAVIOUR, value_enum, value_name = "NAME")]
    pub profile: Option<Profile>,

    /// Which packets of one inside address and port share an external port [default: endpoint-independent]
    #[arg(long, help_heading = BEHAVIOUR, value_enum, value_name = "HOW")]
    pub mapping: Option<Mapping>,

    /// Who outside may send to that port [default: address-and-port-dependent]
    #[arg(long, help_heading = BEHAVIOUR, value_enum, value_name = "HOW")]
    pub filtering: Option<Filtering>,

    /// Let inside hosts reach each other by external addresses
    #[arg(long, help_heading = BEHAVIOUR, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pub hairpin: Option<bool>,

    /// With --hairpin: an interface where inside hosts are; may be repeated [default: found by address and route]
    #[arg(long, help_heading = BEHAVIOUR, value_name = "IF", value_parser = values::interface)]
    pub inside: Vec<String>,

    /// Packets from outside do not keep a flow alive
    #[arg(long, help_heading = BEHAVIOUR)]
    pub no_inbound_refresh: bool,

    /// What becomes of a SYN from outside that nobody wants [default: answer]
    #[arg(long, help_heading = BEHAVIOUR, value_enum, value_name = "HOW")]
    pub unsolicited: Option<Unsolicited>,

    /// How many flows a source may have at a time, 0 for no limit [default: a quarter of --max-flows, at most 32256]
    #[arg(long, help_heading = BEHAVIOUR, value_name = "N")]
    pub max_flows_per_source: Option<u32>,

    /// How many flows a source may begin in a second, 0 for no limit
    #[arg(long, help_heading = BEHAVIOUR, value_name = "N", default_value_t = 0,
          value_parser = value_parser!(u32).range(..=i64::from(Translation::MAX_RATE)))]
    pub new_flows_per_second: u32,
}

impl RuleArgs {
    /// What a file would say.
    pub fn rule(&self) -> Result<MasqueradeRule, Problem> {
        let choices = Choices {
            profile: self.profile,
            mapping: self.mapping,
            filtering: self.filtering,
            hairpin: self.hairpin,
            inbound_refresh: self.no_inbound_refresh.then_some(false),
            unsolicited: self.unsolicited,
            max_flows_per_source: self.max_flows_per_source,
        };
        let behaviour = choices.settle()?;
        if !self.inside.is_empty() && !behaviour.hairpin {
            return Err(Problem::InsideWithoutHairpin);
        }
        Ok(MasqueradeRule {
            out: self.out.clone(),
            sources: Networks::collect(&self.sources)?,
            destinations: Networks::collect(&self.destinations)?,
            action: Action::Masquerade(Translation {
                except: self.except.clone(),
                behaviour,
                inside: self.inside.clone(),
                ports: self.ports.clone(),
                pool: AddressPool::collect(&self.to)?,
                to_ports: self.to_ports,
                random: self.random,
                new_flows_per_second: self.new_flows_per_second,
            }),
        })
    }
}
