//! `natbpf why`

use std::net::IpAddr;

use clap::{ArgGroup, Args};

#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("what").args(["tcp", "udp", "ping"]))]
pub struct WhyArgs {
    /// Where the packet is to go
    #[arg(value_name = "DESTINATION")]
    pub destination: IpAddr,

    /// Whose packet: the host's device of an instance, its address, or the name of a network namespace, a container or
    /// a guest [default: the only one that there is]
    #[arg(long, value_name = "INSTANCE")]
    pub from: Option<String>,

    /// A connection to this port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub tcp: Option<u16>,

    /// A datagram to this port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub udp: Option<u16>,

    /// A ping; with --send this is what is sent if nothing else is said
    #[arg(long)]
    pub ping: bool,

    /// Send a probe as the instance would, with its addresses; the answer is not handed to it
    #[arg(long)]
    pub send: bool,

    /// Without --send: how many seconds to wait for a packet of the instance
    #[arg(long, value_name = "SECONDS", default_value_t = 10, conflicts_with = "send")]
    pub wait: u16,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
