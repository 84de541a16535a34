//! The command line, and what it asks for.

use std::path::PathBuf;

use clap::Parser;

use super::measure::{Group, Measure, NEW};
use super::setting::{Setting, Topology};
use super::side::{Kind, Side};
use crate::addresses::Family;
use crate::traffic::Order;

/// natbpf beside iptables, nft, plain forwarding and bare redirects, in one run
///
/// In network namespaces that it makes and removes: an instance, a host and an outside, all of veth devices. Prints
/// medians over the rounds, and how many times as good as iptables, as nft and as plain forwarding each is. Needs root.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "bench",
    after_help = "Exit status: 0 done; 1 something failed, or the gate found something; 2 wrong usage.\n\n\
                  Examples:\n  \
                  bench --quick\n  \
                  bench --json figures.json --svg docs/performance\n  \
                  bench --measure packets,new --side iptables,offload --flows 1,1000000 --raise-limits\n  \
                  bench --measure packets --side edge --against /usr/bin/natbpf\n  \
                  bench --topology host --measure packets,new,stream --flows 1,10000\n  \
                  bench --topology host --family 6 --side iptables,accelerate,accelerate-xdp,bare-tc,bare-xdp\n  \
                  bench --topology bridge --order zipf\n  \
                  bench --gate"
)]
pub struct Options {
    /// Rounds; the figures are medians over them [default: 5, with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,

    /// Packets of a measurement at least [default: 500000, with --quick 100000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(10_000..=100_000_000))]
    pub packets: Option<u32>,

    /// What is between the instance and the outside
    #[arg(long, value_name = "NAME", value_enum, default_value_t)]
    pub topology: Topology,

    /// The version of IP
    #[arg(long, value_name = "4|6", value_enum, default_value_t)]
    pub family: Family,

    /// The order in which flows have their turns
    #[arg(long, value_name = "ORDER", value_enum, default_value_t)]
    pub order: Order,

    /// Numbers of flows to take turns [default: 1,1000,100000,1000000, with --quick 1,100000]
    #[arg(long, value_name = "N,…", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub flows: Vec<u32>,

    /// Seconds of a measurement by TCP [default: 3, with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: Option<u32>,

    /// Only these measures
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_enum)]
    pub measure: Vec<Group>,

    /// Only these sides; without it, all that there are in the topology and of the family
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_enum)]
    pub side: Vec<Kind>,

    /// Every side and the main measures, in three minutes or so
    #[arg(long)]
    pub quick: bool,

    /// Also measure this natbpf, to compare two versions in one run
    #[arg(long, value_name = "PATH")]
    pub against: Option<PathBuf>,

    /// Also measure natbpf while `natbpf trace` looks at one packet in N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub trace: Option<u32>,

    /// Let netfilter track as many connections as there are flows to be: raises nf_conntrack_max and the hash table,
    /// which belong to the whole machine, and sets them back at the end
    #[arg(long)]
    pub raise_limits: bool,

    /// Write every figure of every round, and where it was measured, to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Draw the medians into this folder
    #[arg(long, value_name = "DIR")]
    pub svg: Option<PathBuf>,

    /// Compare the programs of the object, alone, with tests/gate.json: fails where one has become too costly
    #[arg(long, conflicts_with_all = ["pktgen", "quick", "json", "svg", "against", "trace"])]
    pub gate: bool,

    /// With --gate: write tests/gate.json
    #[arg(long, requires = "gate")]
    pub record: bool,

    /// Drive the kernel's pktgen instead, by IPv4, through plain forwarding, iptables, nft and natbpf
    #[arg(long, conflicts_with_all = ["quick", "json", "svg", "measure", "flows", "order", "family", "trace"])]
    pub pktgen: bool,
}

/// What a run does.
#[derive(Clone, Debug)]
pub struct Plan {
    pub rounds: u32,
    pub packets: u32,
    /// Ascending.
    flows: Vec<u32>,
    pub seconds: u32,
    groups: Vec<Group>,
    pub setting: Setting,
    pub order: Order,
    /// How many connections netfilter takes.
    pub connections: u32,
}

impl Plan {
    pub fn new(options: &Options) -> Self {
        let or = |given: Option<u32>, quick, full| given.unwrap_or(if options.quick { quick } else { full });
        let mut flows = match (&options.flows[..], options.quick) {
            ([], true) => vec![1, 100_000],
            ([], false) => vec![1, 1_000, 100_000, 1_000_000],
            (given, _) => given.to_vec(),
        };
        flows.sort_unstable();
        flows.dedup();
        Self {
            rounds: or(options.rounds, 1, 5),
            packets: or(options.packets, 100_000, 500_000),
            flows,
            seconds: or(options.seconds, 1, 3),
            groups: options.measure.clone(),
            setting: Setting { topology: options.topology, family: options.family },
            order: options.order,
            connections: u32::MAX,
        }
    }

    pub fn wants_group(&self, group: Group) -> bool {
        self.groups.is_empty() || self.groups.contains(&group)
    }

    pub fn wants_any(&self, groups: &[Group]) -> bool {
        groups.iter().any(|group| self.wants_group(*group))
    }

    pub fn wants(&self, side: &Side, measure: Measure) -> bool {
        self.wants_group(measure.group()) && side.has(measure)
    }

    pub fn most_flows(&self) -> u32 {
        self.flows.last().copied().unwrap_or(1)
    }

    /// The numbers of flows that a side can hold. One is enough for what does not ask for more.
    pub fn flows_of(&self, side: &Side) -> Vec<u32> {
        let room = if side.is_tracked() { self.connections } else { u32::MAX };
        let wanted = |flows: &u32| *flows < room && self.wants_group(Group::Packets);
        self.flows.iter().copied().filter(wanted).collect()
    }

    /// Room for the flows, and for those that a measure begins besides.
    pub fn max_flows(&self) -> u32 {
        let flows = self.most_flows();
        (flows + flows / 8).max(flows + NEW + NEW / 10).next_multiple_of(1 << 10)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::super::side::Sides;
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn what_is_given_counts_more_than_quick() {
        let plan = |line: &[&str]| Plan::new(&Options::parse_from([&["bench"], line].concat()));
        let full = plan(&[]);
        assert_eq!((full.rounds, full.most_flows()), (5, 1_000_000));
        assert!(full.wants_group(Group::Memory));
        let quick = plan(&["--quick", "--rounds", "3", "--flows", "1000,1,1000", "--measure", "packets"]);
        assert_eq!((quick.rounds, quick.packets, &quick.flows[..]), (3, 100_000, &[1, 1000][..]));
        assert!(quick.wants_group(Group::Packets) && !quick.wants_group(Group::Stream));
        assert!(quick.max_flows() >= 1000 + NEW);
    }

    #[test]
    fn flows_have_their_turns_at_random_unless_something_else_is_said() {
        let plan = |line: &[&str]| Plan::new(&Options::parse_from([&["bench"], line].concat()));
        let usual = plan(&[]);
        assert_eq!((usual.order, usual.setting), (Order::Random, Setting::default()));
        let other = plan(&["--order", "created", "--topology", "host", "--family", "6"]);
        let setting = Setting { topology: Topology::Host, family: Family::V6 };
        assert_eq!((other.order, other.setting), (Order::Created, setting));
    }

    #[test]
    fn netfilter_is_not_asked_for_more_than_it_takes() -> anyhow::Result<()> {
        let mut plan = Plan::new(&Options::parse_from(["bench"]));
        plan.connections = 262_144;
        let sides = Sides::choose(&[Kind::Plain, Kind::Iptables], plan.setting, None, 1)?;
        let flows: Vec<_> = sides.all.iter().map(|side| plan.flows_of(side).len()).collect();
        assert_eq!(flows, [4, 3]);
        Ok(())
    }
}
