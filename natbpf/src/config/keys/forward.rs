//! `[[forward]]` and `[[floating]]`

use std::net::Ipv4Addr;

use super::{
    said::{Said, Wrong},
    section::section,
};
use crate::config::{Floating, Pair, PortForward, Ports, Protocol, Redirection, Target};

section! {
    "[[forward]]" "external ports that lead inside"
    pub struct ForwardKeys {
        r#in: Said<String> = r#""eth0""# "";
        address: Option<Said<Ipv4Addr>> = r#""203.0.113.1""# "left out: every address of the uplink";
        protocol: Option<Protocol> = r#""tcp""# r#"or "udp"; left out: both"#;
        port: Said<Ports> = r#""8000-8099""# "";
        to: Said<Target> = r#""10.0.0.11:80""# "the first port of as many; without a port: ports stay";
        #[serde(default)]
        hairpin: bool = "true" "inside hosts reach it by the external address, too; left out: they do not";
    }
}

section! {
    "[[floating]]" "an external address that is an inside host's alone"
    pub struct FloatingKeys {
        uplink: Said<String> = r#""eth0""# "";
        address: Said<Ipv4Addr> = r#""203.0.113.50""# "answered by ARP, unless the host has it";
        to: Said<Ipv4Addr> = r#""10.0.0.12""# "";
        #[serde(default)]
        hairpin: bool = "true" "";
    }
}

impl ForwardKeys {
    pub fn forward(&self) -> Result<PortForward, Wrong> {
        let address = self.address.as_ref().map(|said| said.of("address")).transpose()?;
        let (ports, to) = (self.port.of("port")?, self.to.of("to")?);
        let redirection = Redirection::new(address, self.protocol, ports, to).map_err(Wrong::at("to"))?;
        Ok(PortForward { uplink: self.r#in.of("in")?, redirection, hairpin: self.hairpin })
    }
}

impl FloatingKeys {
    pub fn floating(&self) -> Result<Floating, Wrong> {
        let pair = Pair { external: self.address.of("address")?, inside: self.to.of("to")? };
        Ok(Floating { uplink: self.uplink.of("uplink")?, pair, hairpin: self.hairpin })
    }
}
