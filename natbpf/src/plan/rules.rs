//! The rules of each uplink, in order, as the contents of maps.

use natbpf_common::{
    IfIndex,
    contract::{forwards::Pool, rules::Rule},
};

use super::{
    DestinationEntry, PlannedUplink, SourceEntry,
    compile::{Compiler, OrderedRule},
    uplinks::Uplinks,
    value,
};
use crate::config::{Action, Config, MasqueradeRule, Networks, Translation};

/// A rule and what it comes to.
pub struct PlannedRule<'a> {
    pub rule: &'a MasqueradeRule,
    /// Interface indexes.
    pub uplinks: Vec<IfIndex>,
    pub value: Option<Rule>,
    /// It is the first that matches something, on some uplink.
    pub decides: bool,
}

/// All of them.
pub struct Rules<'a> {
    pub planned: Vec<PlannedRule<'a>>,
    pub sources: Vec<SourceEntry>,
    pub destinations: Vec<DestinationEntry>,
    /// [`Rule::pool`] of the rules above is an index of these.
    pub pools: Vec<Pool>,
}

impl<'a> Rules<'a> {
    pub fn compile(config: &'a Config, uplinks: &Uplinks) -> Self {
        let max_flows = config.datapath.max_flows;
        let mut pools = Vec::new();
        let of_uplinks = config.rules.iter().zip(&uplinks.of_rules);
        let planned = of_uplinks.map(|(rule, uplinks)| {
            let value =
                translation(rule).map(|translation| value::masquerading(translation, max_flows, &mut pools));
            PlannedRule { rule, uplinks: uplinks.clone(), value, decides: false }
        });
        let mut planned: Vec<PlannedRule<'a>> = planned.collect();
        let mut compiler = Compiler::default();
        for uplink in &uplinks.planned {
            compile(uplink, config, &mut planned, &mut compiler);
        }
        let Compiler { sources, destinations, .. } = compiler;
        Self { planned, sources, destinations, pools }
    }
}

/// What a rule translates to; `None`: what matches is left alone.
pub fn translation(rule: &MasqueradeRule) -> Option<&Translation> {
    match &rule.action {
        Action::Masquerade(translation) => Some(translation),
        Action::Exempt => None,
    }
}

/// Adds the rules of an uplink.
fn compile(uplink: &PlannedUplink, config: &Config, rules: &mut [PlannedRule<'_>], compiler: &mut Compiler) {
    let everywhere = Networks::default();
    let floating = config.floating.iter().filter(|floating| floating.uplink == uplink.name);
    let value = |floating| value::floating(floating, config.datapath.max_flows);
    let floating: Vec<(Networks, Rule)> =
        floating.map(|floating| (Networks::from(floating.pair.inside), value(floating))).collect();
    // A host that has an address of its own needs no rule, and none takes it away.
    let floating = floating.iter().map(|(sources, rule)| OrderedRule {
        sources,
        destinations: &everywhere,
        except: &[],
        value: Some(*rule),
    });
    let here = |planned: &PlannedRule<'_>| planned.uplinks.contains(&uplink.interface);
    let first = floating.len();
    let ordered = rules.iter().filter(|planned| here(planned)).map(PlannedRule::ordered);
    let ordered: Vec<OrderedRule<'_>> = floating.chain(ordered).collect();
    let decides = compiler.add_uplink(uplink.interface, &ordered);
    for (rule, decides) in rules.iter_mut().filter(|planned| here(planned)).zip(&decides[first..]) {
        rule.decides |= decides;
    }
}

impl<'a> PlannedRule<'a> {
    /// What it translates to; `None`: what matches is left alone.
    pub fn translation(&self) -> Option<&'a Translation> {
        translation(self.rule)
    }

    fn ordered(&self) -> OrderedRule<'a> {
        OrderedRule {
            sources: &self.rule.sources,
            destinations: &self.rule.destinations,
            except: self.translation().map_or(&[], |translation| &translation.except),
            value: self.value,
        }
    }
}
