//! Packets in masses, both ways at once.

use std::fmt;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, bail};

use crate::ends::tools;
use crate::netns::Namespace;

/// The port of iperf3's server.
pub const IPERF: u16 = 5201;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub const BOTH: [Self; 2] = [Self::Tcp, Self::Udp];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }

    /// iperf3's options. Datagrams fit into what the narrowest network of a platform carries.
    const fn options(self) -> &'static str {
        match self {
            Self::Tcp => "--bidir",
            Self::Udp => "--bidir -u -b 40M -l 1200",
        }
    }
}

/// From where to where.
pub struct Stream<'a> {
    pub name: &'static str,
    /// Who runs iperf3's client.
    pub client: Client<'a>,
    pub server: &'a Namespace,
    /// By which the client asks for the server.
    pub address: Ipv4Addr,
    /// [`IPERF`], or one that leads there.
    pub port: u16,
}

/// Runs a command to its end; what it wrote, if that was a good one.
type Shell<'a> = dyn Fn(&str) -> Result<String> + Sync + 'a;

pub enum Client<'a> {
    Namespace(&'a Namespace),
    /// A machine with a shell.
    Shell(Box<Shell<'a>>),
}

impl fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespace(namespace) => namespace.name(),
            Self::Shell(_) => "a shell",
        })
    }
}

impl<'a> Stream<'a> {
    /// Between two namespaces, to iperf3's own port.
    pub fn between(
        name: &'static str,
        client: &'a Namespace,
        server: &'a Namespace,
        address: Ipv4Addr,
    ) -> Self {
        Self { name, client: Client::Namespace(client), server, address, port: IPERF }
    }

    /// Sends both ways for so long.
    pub fn send(&self, protocol: Protocol, seconds: u32) -> Result<()> {
        let options = format!("{} -t {seconds} -p {}", protocol.options(), self.port);
        match &self.client {
            Client::Namespace(client) => {
                let iperf = tools::iperf3_at(client, self.server, self.address, &options);
                let iperf = iperf.with_context(|| format!("{} of {}", protocol.name(), self.name))?;
                if iperf.bytes == 0 {
                    bail!("{} of {}: nothing arrived", protocol.name(), self.name);
                }
            }
            Client::Shell(run) => {
                let _serving = tools::iperf3_server(self.server, None)?;
                run(&format!(
                    "iperf3 -c {} {options} >/tmp/iperf 2>&1 || {{ cat /tmp/iperf; false; }}",
                    self.address
                ))?;
            }
        }
        Ok(())
    }
}
