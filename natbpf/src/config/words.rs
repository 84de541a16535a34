//! What is chosen by a word, which the file and the command line spell alike.

use std::{fmt, str::FromStr};

/// Which packets of one inside endpoint share an external port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mapping {
    /// One external port whatever the destination (RFC 4787, REQ-1)
    #[default]
    EndpointIndependent,
    /// A mapping of its own for each destination
    AddressAndPortDependent,
}

/// Who outside may send to a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// Whoever was asked, from the port that was asked
    AddressAndPortDependent,
    /// Whoever was asked, from any port
    AddressDependent,
    /// Everybody
    EndpointIndependent,
}

/// A set of defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// As RFC 4787, RFC 5382 and RFC 7857 recommend
    Rfc,
    /// As iptables MASQUERADE
    Netfilter,
}

/// What becomes of a SYN from outside that nobody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unsolicited {
    /// The host answers with a RST
    Answer,
    /// Nobody answers
    Drop,
}

/// A protocol whose ports can be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    Tcp,
    Udp,
}

/// How programs are attached to the hooks of traffic control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachMode {
    /// tcx where the kernel has it (6.6), else clsact
    #[default]
    Auto,
    /// Links on the tcx hooks
    Tcx,
    /// Filters on a clsact qdisc
    Clsact,
}

/// At which hooks packets of offloaded flows are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookMode {
    /// XDP on NICs whose driver has it, where that helps; else traffic control
    #[default]
    Auto,
    /// Traffic control
    Tc,
    /// XDP of the driver, or no start
    Xdp,
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    On,
    Off,
}

impl fmt::Display for Filtering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddressAndPortDependent => "address-and-port-dependent",
            Self::AddressDependent => "address-dependent",
            Self::EndpointIndependent => "endpoint-independent",
        })
    }
}

impl FromStr for Protocol {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Tcp, Self::Udp].into_iter().find(|protocol| protocol.to_string() == text).ok_or(())
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
