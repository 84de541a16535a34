//! Where sides are compared: what is between the ends, and the version of IP.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use super::pair::Pair;
use crate::addresses::Family;
use crate::gateway::natbpf::{Cli, INSTANCE};
use crate::hosts::{Host, Name};
use crate::netns::isolate::bpffs;
use crate::topology::node::Node;
use crate::topology::{Lab, Options, Site};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Topology {
    /// An instance, a gateway that routes, an outside
    #[default]
    Gateway,
    /// Two instances on one bridge
    Bridge,
    /// A node of a cloud: nine devices from the instance to the outside, a router in a namespace of its own
    Host,
    /// A real Docker: a container of a network of its own, and the outside
    Docker,
    /// The same: the outside, and a published port
    DockerPublished,
    /// The same: two containers of a network
    DockerPair,
    /// A real libvirt: a station of its network "default", and the outside
    Libvirt,
    /// A real node of OpenStack Neutron with security groups: an instance, and the outside
    Neutron,
    /// The same: an instance with a floating address
    NeutronFloating,
    /// Open vSwitch as on a node of a cloud, where the kernel has it: an instance, and the outside
    Openvswitch,
}

impl Topology {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Docker => "docker",
            Self::DockerPublished => "docker-published",
            Self::DockerPair => "docker-pair",
            Self::Libvirt => "libvirt",
            Self::Neutron => "neutron",
            Self::NeutronFloating => "neutron-floating",
            Self::Openvswitch => "openvswitch",
        }
    }

    /// The real host that it is, and which of its ways.
    pub const fn platform(self) -> Option<(Name, usize)> {
        match self {
            Self::Gateway | Self::Bridge | Self::Host => None,
            Self::Docker => Some((Name::Docker, 0)),
            Self::DockerPublished => Some((Name::Docker, 1)),
            Self::DockerPair => Some((Name::Docker, 2)),
            Self::Libvirt => Some((Name::Libvirt, 0)),
            Self::Neutron => Some((Name::Neutron, 0)),
            Self::NeutronFloating => Some((Name::Neutron, 1)),
            Self::Openvswitch => Some((Name::Openvswitch, 0)),
        }
    }

    /// Both ends are instances of one network.
    pub const fn is_a_pair(self) -> bool {
        matches!(self, Self::Bridge | Self::DockerPair)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    pub topology: Topology,
    pub family: Family,
}

impl Setting {
    /// A new lab.
    fn make(self) -> Result<Box<dyn Site>> {
        let options = |bridge| Options { bridge, ipv6: self.family == Family::V6, ..Options::default() };
        Ok(match self.topology {
            Topology::Gateway => Box::new(Lab::with(options(false))?),
            Topology::Bridge => Box::new(Pair(Lab::with(options(true))?)),
            Topology::Host => Box::new(Node::untranslated()?),
            real => bail!("{} is no lab", real.name()),
        })
    }
}

/// Where sides take their turns.
#[derive(Debug)]
pub enum Place {
    /// Each in a lab of its own.
    Labs(Setting),
    /// All on one real host, one after the other, on one of its ways.
    Host { host: Box<dyn Host>, way: usize },
}

impl Place {
    pub fn of(setting: Setting) -> Result<Self> {
        let Some((name, way)) = setting.topology.platform() else { return Ok(Self::Labs(setting)) };
        if let Some(reason) = name.lacks() {
            bail!("{}: {reason}", name.title());
        }
        ensure!(setting.family == Family::V4, "{} is of IPv4: leave out --family 6", name.title());
        Ok(Self::Host { host: name.build().with_context(|| name.title())?, way })
    }

    /// A new lab, or the host, which has forgotten connections.
    pub fn site(&self) -> Result<Box<dyn Site + '_>> {
        match self {
            Self::Labs(setting) => setting.make(),
            Self::Host { host, way } => {
                for namespace in [host.network()].into_iter().chain(host.routers()) {
                    namespace.cmd("conntrack").arg("-F").run()?;
                }
                let way = host.ways().into_iter().nth(*way).context("this host has fewer ways")?;
                Ok(Box::new(way))
            }
        }
    }

    /// natbpf's command line there.
    pub fn natbpf_cli(&self, site: &dyn Site) -> Result<Cli> {
        match self {
            Self::Labs(_) => Cli::new(site.host(), INSTANCE),
            Self::Host { host, .. } => host.natbpf_cli(),
        }
    }

    /// Where natbpf's tables are pinned.
    pub fn bpffs(&self) -> PathBuf {
        match self {
            Self::Labs(_) => bpffs().to_owned(),
            Self::Host { host, .. } => host.bpffs(),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topology {}, {}", self.topology.name(), self.family.name())
    }
}
