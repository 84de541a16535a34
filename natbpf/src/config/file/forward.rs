//! `[[forward]]` and `[[floating]]`

use serde::Deserialize;
use toml::Spanned;

use super::place::{Misplaced, Text, value};
use crate::config::{Floating, Pair, PortForward, Ports, Protocol, Redirection, forward, values};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawForward {
    #[serde(rename = "in")]
    pub uplink: Text,
    address: Option<Text>,
    protocol: Option<Spanned<Protocol>>,
    pub port: Text,
    to: Text,
    #[serde(default)]
    hairpin: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawFloating {
    pub uplink: Text,
    pub address: Text,
    pub to: Text,
    #[serde(default)]
    hairpin: bool,
}

impl RawForward {
    pub fn forward(&self) -> Result<PortForward, Misplaced> {
        let address = self.address.as_ref().map(|text| value(text, forward::address)).transpose()?;
        let protocol = self.protocol.as_ref().map(|protocol| *protocol.get_ref());
        let ports = value(&self.port, str::parse::<Ports>)?;
        let redirection = value(&self.to, |to| Redirection::new(address, protocol, ports, to.parse()?))?;
        Ok(PortForward {
            uplink: value(&self.uplink, values::interface)?,
            redirection,
            hairpin: self.hairpin,
        })
    }
}

impl RawFloating {
    pub fn floating(&self) -> Result<Floating, Misplaced> {
        let pair = Pair {
            external: value(&self.address, forward::address)?,
            inside: value(&self.to, forward::address)?,
        };
        Ok(Floating { uplink: value(&self.uplink, values::interface)?, pair, hairpin: self.hairpin })
    }
}
