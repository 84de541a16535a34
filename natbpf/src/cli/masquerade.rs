//! The options of `natbpf masquerade`, and the configuration that they are.

use clap::{Args, value_parser};

use super::daemon::DaemonArgs;
use crate::config::{
    Action, Config, DatapathConfig, Floating, Pair, PortForward, Problem, Redirection, keys::RuleKeys,
};

#[derive(Clone, Debug, Args)]
pub struct MasqueradeArgs {
    #[command(flatten)]
    pub rule: RuleKeys,

    /// Forward external ports to an inside host, tcp:8080:10.0.0.11:80 for instance; may be repeated
    #[arg(long = "forward", value_name = "[ADDR:]PROTO:PORT[-PORT]:INSIDE[:PORT]")]
    pub forwards: Vec<Redirection>,

    /// An external address that is an inside host's alone, answered by ARP; may be repeated
    #[arg(long, value_name = "ADDR=INSIDE")]
    pub floating: Vec<Pair>,

    /// How many flows there can be at a time [default: 262144]
    #[arg(long, value_name = "N", value_parser = max_flows())]
    pub max_flows: Option<u32>,

    #[command(flatten)]
    pub daemon: DaemonArgs,
}

impl Config {
    /// The configuration that `natbpf masquerade` was given.
    pub fn from_masquerade(arguments: &MasqueradeArgs) -> Result<Self, Problem> {
        let mut config = config(arguments)?;
        config.check()?;
        if let Some(max_flows) = arguments.max_flows {
            config.datapath.max_flows = max_flows;
        }
        Ok(config)
    }
}

/// The rule that the arguments are, with what leads inside by its uplink.
fn config(arguments: &MasqueradeArgs) -> Result<Config, Problem> {
    let rule = arguments.rule.rule()?;
    let hairpin = matches!(&rule.action, Action::Masquerade(translation) if translation.behaviour.hairpin);
    let (mut forwards, mut floating) = (Vec::new(), Vec::new());
    if !arguments.forwards.is_empty() || !arguments.floating.is_empty() {
        let Some(uplink) = rule.out.name() else { return Err(Problem::NoUplinkNamed(rule.out.to_string())) };
        let uplink = || uplink.to_owned();
        forwards.extend(arguments.forwards.iter().map(|&redirection| PortForward {
            uplink: uplink(),
            redirection,
            hairpin,
        }));
        floating.extend(arguments.floating.iter().map(|&pair| Floating { uplink: uplink(), pair, hairpin }));
    }
    let datapath = DatapathConfig::default().with(&arguments.daemon.datapath)?;
    Ok(Config { rules: vec![rule], forwards, floating, datapath, ..Config::default() })
}

fn max_flows() -> clap::builder::RangedI64ValueParser<u32> {
    value_parser!(u32).range(i64::from(DatapathConfig::MIN_FLOWS)..=i64::from(DatapathConfig::MAX_FLOWS))
}
