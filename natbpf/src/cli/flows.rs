//! The options of `natbpf flows`.

use clap::{Args, ValueEnum};
use ipnet::Ipv4Net;
use natbpf_common::flow::state::State;

use crate::{
    config::values,
    flows::{Filter, filter},
};

#[derive(Clone, Debug, Args)]
pub struct FlowsArgs {
    #[arg(value_enum)]
    pub action: FlowsAction,

    /// Print JSON: one object a line
    #[arg(long)]
    pub json: bool,

    /// Print lines with more in them
    #[arg(short, long, value_enum, value_name = "FORM", conflicts_with = "json")]
    pub output: Option<FlowsOutput>,

    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Lines with more in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlowsOutput {
    /// With the address family in front, as conntrack -o extended prints them
    Extended,
}

/// What to do with the flows that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlowsAction {
    /// Print them
    List,
    /// Print how many there are
    Count,
    /// Print what happens to them from now on, until stopped
    Watch,
    /// End them
    Flush,
}

#[derive(Clone, Debug, Default, Args)]
pub struct FilterArgs {
    /// Protocol, by name or number
    #[arg(short, long = "protocol", alias = "proto", value_name = "PROTO", value_parser = filter::protocol)]
    pub protocol: Option<u8>,

    /// Source address or network
    #[arg(short, long, alias = "src", value_name = "ADDR[/LEN]", value_parser = values::network)]
    pub source: Option<Ipv4Net>,

    /// Destination address or network
    #[arg(short, long, alias = "dst", value_name = "ADDR[/LEN]", value_parser = values::network)]
    pub destination: Option<Ipv4Net>,

    /// Source port
    #[arg(long, alias = "orig-port-src", value_name = "PORT")]
    pub sport: Option<u16>,

    /// Destination port
    #[arg(long, alias = "orig-port-dst", value_name = "PORT")]
    pub dport: Option<u16>,

    /// State of a TCP connection, such as ESTABLISHED
    #[arg(long, value_name = "STATE", value_parser = filter::state)]
    pub state: Option<State>,
}

impl From<&FilterArgs> for Filter {
    fn from(arguments: &FilterArgs) -> Self {
        let FilterArgs { protocol, source, destination, sport, dport, state } = *arguments;
        Self { protocol, source, destination, sport, dport, state }
    }
}
