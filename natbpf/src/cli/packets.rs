//! The options by which paths and packets are chosen.

use clap::Args;
use ipnet::IpNet;

use crate::flows::filter;

/// Everything that is given has to match.
#[derive(Clone, Debug, Default, Args)]
pub struct PacketArgs {
    /// A device by which packets come in or leave
    #[arg(short, long, alias = "interface", value_name = "IF")]
    pub edge: Option<String>,

    #[command(flatten)]
    pub ends: EndsArgs,

    /// Source port
    #[arg(long, value_name = "PORT")]
    pub sport: Option<u16>,

    /// Destination port
    #[arg(long, value_name = "PORT")]
    pub dport: Option<u16>,
}

/// What every list and screen of flows can be narrowed down to.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct EndsArgs {
    /// Protocol, by name or number
    #[arg(short, long = "protocol", alias = "proto", value_name = "PROTO", value_parser = filter::protocol)]
    pub protocol: Option<u8>,

    /// Source address or network, as packets come in or as they leave
    #[arg(short, long, alias = "src", value_name = "ADDR[/LEN]", value_parser = network)]
    pub source: Option<IpNet>,

    /// Destination address or network, as packets come in or as they leave
    #[arg(short, long, alias = "dst", value_name = "ADDR[/LEN]", value_parser = network)]
    pub destination: Option<IpNet>,
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse().ok().map(|address: std::net::IpAddr| address.into());
    let network = text.parse().ok().or_else(address);
    network.ok_or_else(|| {
        "give an address such as 10.0.0.11 or fd00::11, or a network such as 10.0.0.0/24".to_owned()
    })
}
