//! From the arguments of `natbpf masquerade` to what a file would say.

use std::collections::BTreeMap;

use natbpf_common::flow::timeouts::Timeouts;

use super::{
    Action, AddressPool, Choices, Config, DatapathConfig, Floating, MasqueradeRule, Networks, PortForward,
    Problem, Translation,
};
use crate::cli::{MasqueradeArgs, RuleArgs};

/// The rule that the arguments are, with what leads inside by its uplink.
pub fn config(arguments: &MasqueradeArgs) -> Result<Config, Problem> {
    let rule = rule(&arguments.rule)?;
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
    let (datapath, timeouts) = (DatapathConfig::default(), Timeouts::default());
    Ok(Config { rules: vec![rule], forwards, floating, interfaces: BTreeMap::new(), datapath, timeouts })
}

fn rule(arguments: &RuleArgs) -> Result<MasqueradeRule, Problem> {
    let RuleArgs { profile, mapping, filtering, hairpin, unsolicited, max_flows_per_source, .. } = *arguments;
    let inbound_refresh = arguments.no_inbound_refresh.then_some(false);
    let choices =
        Choices { profile, mapping, filtering, hairpin, inbound_refresh, unsolicited, max_flows_per_source };
    let behaviour = choices.settle()?;
    if !arguments.inside.is_empty() && !behaviour.hairpin {
        return Err(Problem::InsideWithoutHairpin);
    }
    Ok(MasqueradeRule {
        out: arguments.out.clone(),
        sources: Networks::collect(&arguments.sources)?,
        destinations: Networks::collect(&arguments.destinations)?,
        action: Action::Masquerade(Translation {
            except: arguments.except.clone(),
            behaviour,
            inside: arguments.inside.clone(),
            ports: arguments.ports.clone(),
            pool: AddressPool::collect(&arguments.to)?,
            to_ports: arguments.to_ports,
            random: arguments.random,
            new_flows_per_second: arguments.new_flows_per_second,
        }),
    })
}
