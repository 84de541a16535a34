//! `[[masquerade]]`

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::place::{Misplaced, Text, list, value};
use crate::config::{
    Action, AddressPool, AddressRange, Choices, Filtering, Interfaces, Mapping, MasqueradeRule, NetworkMatch,
    Networks, Ports, Problem, Profile, Translation, Unsolicited, values,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRule {
    pub out: Text,
    source: Option<Spanned<Vec<Text>>>,
    destination: Option<Spanned<Vec<Text>>>,
    except: Option<Spanned<Vec<Text>>>,
    action: Option<RawAction>,
    profile: Option<Spanned<Profile>>,
    mapping: Option<Spanned<Mapping>>,
    filtering: Option<Spanned<Filtering>>,
    inbound_refresh: Option<Spanned<bool>>,
    hairpin: Option<Spanned<bool>>,
    inside: Option<Spanned<Vec<Text>>>,
    ports: Option<Spanned<Vec<Text>>>,
    unsolicited: Option<Spanned<Unsolicited>>,
    pub to: Option<Spanned<Vec<Text>>>,
    to_ports: Option<Text>,
    random: Option<Spanned<bool>>,
    max_flows_per_source: Option<Spanned<u32>>,
    new_flows_per_second: Option<Spanned<u32>>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum RawAction {
    #[default]
    Masquerade,
    Exempt,
}

/// Names of keys, and where each stands that is there. A key that is in neither list does not compile.
macro_rules! places {
    ($rule:ident but $($other:ident)*: $($key:ident)*) => {{
        let Self { $($other: _,)* $($key,)* } = $rule;
        [$((stringify!($key), span($key))),*]
    }};
}

impl RawRule {
    pub fn rule(&self) -> Result<MasqueradeRule, Misplaced> {
        let action = match self.action.unwrap_or_default() {
            RawAction::Masquerade => Action::Masquerade(self.translation()?),
            RawAction::Exempt => self.exempt()?,
        };
        Ok(MasqueradeRule {
            out: value(&self.out, str::parse)?,
            sources: matches(self.source.as_ref(), Problem::NoSource)?,
            destinations: matches(self.destination.as_ref(), Problem::NoDestination)?,
            action,
        })
    }

    /// Nothing that is about a translation may be said.
    fn exempt(&self) -> Result<Action, Misplaced> {
        let meaningless = places!(
            self but out source destination action:
            except profile mapping filtering inbound_refresh hairpin inside ports unsolicited to to_ports random
            max_flows_per_source new_flows_per_second
        );
        match meaningless.into_iter().find_map(|(key, span)| Some((key, span?))) {
            Some((key, span)) => Err(Misplaced { span, problem: Problem::Meaningless { key } }),
            None => Ok(Action::Exempt),
        }
    }

    fn translation(&self) -> Result<Translation, Misplaced> {
        let choices = Choices {
            profile: get(&self.profile),
            mapping: get(&self.mapping),
            filtering: get(&self.filtering),
            hairpin: get(&self.hairpin),
            inbound_refresh: get(&self.inbound_refresh),
            unsolicited: get(&self.unsolicited),
            max_flows_per_source: get(&self.max_flows_per_source),
        };
        let behaviour = choices.settle().map_err(|error| {
            let span = span(&self.filtering).or(span(&self.mapping)).unwrap_or(self.out.span());
            Misplaced { span, problem: error.into() }
        })?;
        let inside = match &self.inside {
            Some(inside) if !behaviour.hairpin => {
                return Err(Misplaced { span: inside.span(), problem: Problem::InsideWithoutHairpin });
            }
            Some(inside) => list(inside.get_ref(), values::interface)?,
            None => Vec::new(),
        };
        Ok(Translation {
            except: self
                .except
                .as_ref()
                .map_or(Ok(Vec::new()), |except| list(except.get_ref(), values::network))?,
            behaviour,
            inside,
            ports: self.ports()?,
            pool: self.pool()?,
            to_ports: self.to_ports.as_ref().map(|text| value(text, str::parse::<Ports>)).transpose()?,
            random: get(&self.random).unwrap_or_default(),
            new_flows_per_second: self.rate()?,
        })
    }

    fn ports(&self) -> Result<Vec<Interfaces>, Misplaced> {
        match &self.ports {
            Some(ports) if ports.get_ref().is_empty() => {
                Err(Misplaced { span: ports.span(), problem: Problem::NoPort })
            }
            Some(ports) => list(ports.get_ref(), str::parse),
            None => Ok(Vec::new()),
        }
    }

    fn pool(&self) -> Result<Option<AddressPool>, Misplaced> {
        let Some(to) = &self.to else { return Ok(None) };
        let ranges = list(to.get_ref(), str::parse::<AddressRange>)?;
        match AddressPool::collect(&ranges) {
            Ok(None) => Err(Misplaced { span: to.span(), problem: Problem::NoPool }),
            Ok(pool) => Ok(pool),
            Err(error) => Err(Misplaced { span: to.span(), problem: error.into() }),
        }
    }

    fn rate(&self) -> Result<u32, Misplaced> {
        match &self.new_flows_per_second {
            Some(rate) if *rate.get_ref() > Translation::MAX_RATE => {
                Err(Misplaced { span: rate.span(), problem: Problem::Rate(*rate.get_ref()) })
            }
            rate => Ok(get(rate).unwrap_or(0)),
        }
    }
}

fn matches(raw: Option<&Spanned<Vec<Text>>>, if_empty: Problem) -> Result<Networks, Misplaced> {
    let mut networks = Networks::default();
    match raw {
        None => {}
        Some(list) if list.get_ref().is_empty() => {
            return Err(Misplaced { span: list.span(), problem: if_empty });
        }
        Some(list) => {
            for text in list.get_ref() {
                value(text, |text| networks.add(text.parse::<NetworkMatch>()?))?;
            }
        }
    }
    Ok(networks)
}

fn get<T: Copy>(raw: &Option<Spanned<T>>) -> Option<T> {
    raw.as_ref().map(|value| *value.get_ref())
}

fn span<T>(raw: &Option<Spanned<T>>) -> Option<Range<usize>> {
    raw.as_ref().map(Spanned::span)
}
