//! `[datapath]` and `[[interface]]`

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::place::{Misplaced, Text, value};
use crate::config::{AttachMode, DatapathConfig, HookMode, Problem, Switch, values};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawInterface {
    name: Text,
    hook: HookMode,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawDatapath {
    max_flows: Option<Spanned<u32>>,
    #[serde(default)]
    attach: AttachMode,
    #[serde(default)]
    hook: HookMode,
    #[serde(default)]
    coexist: bool,
    offload: Option<Switch>,
    revalidate: Option<Text>,
    conntrack_liberal: Option<bool>,
}

/// By name; none twice.
pub fn interfaces(raw: &[RawInterface]) -> Result<BTreeMap<String, HookMode>, Misplaced> {
    let mut interfaces = BTreeMap::new();
    for interface in raw {
        let name = value(&interface.name, values::interface)?;
        if interfaces.insert(name.clone(), interface.hook).is_some() {
            return Err(Misplaced { span: interface.name.span(), problem: Problem::InterfaceTwice(name) });
        }
    }
    Ok(interfaces)
}

/// With what is left out as it is by default.
pub fn datapath(raw: &RawDatapath) -> Result<DatapathConfig, Misplaced> {
    let max_flows = match &raw.max_flows {
        None => DatapathConfig::default().max_flows,
        Some(number)
            if (DatapathConfig::MIN_FLOWS..=DatapathConfig::MAX_FLOWS).contains(number.get_ref()) =>
        {
            *number.get_ref()
        }
        Some(number) => {
            return Err(Misplaced { span: number.span(), problem: Problem::MaxFlows(*number.get_ref()) });
        }
    };
    let default = DatapathConfig::default();
    Ok(DatapathConfig {
        max_flows,
        attach: raw.attach,
        hook: raw.hook,
        coexist: raw.coexist,
        offload: raw.offload,
        revalidate: raw
            .revalidate
            .as_ref()
            .map_or(Ok(default.revalidate), |text| value(text, values::revalidate))?,
        conntrack_liberal: raw.conntrack_liberal.unwrap_or(default.conntrack_liberal),
    })
}
