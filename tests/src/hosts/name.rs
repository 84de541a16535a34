//! Which hosts there are.

use anyhow::Result;
use clap::ValueEnum;

use super::containers::{Containers, Engine};
use super::host::Host;
use super::kernel;
use super::kubernetes::{self, Kubernetes};
use super::libvirt::Libvirt;
use super::migration::Migration;
use super::neutron::Neutron;
use super::openvswitch::OpenVswitch;
use super::router::{self, Router};

/// Those that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// Debian's Docker: published ports, a network of one's own beside the default one
    Docker,
    /// Debian's podman with netavark and aardvark-dns: the same
    Podman,
    /// Debian's libvirt: its network "default", guests that QEMU emulates
    Libvirt,
    /// Debian's OpenStack Neutron: a router with SNAT and a floating address, security groups, Linux bridges
    Neutron,
    /// Open vSwitch: VLANs of br-int, br-ex, a router with MASQUERADE; needs a kernel with its datapath
    Openvswitch,
    /// A node of Kubernetes: the rules of kube-proxy and of a CNI with a bridge, services, NodePorts
    Kubernetes,
    /// A home's router: VLANs, a flowtable, SQM, WireGuard; needs a kernel with all of them
    Router,
    /// The same on a line with PPPoE: Debian's pppd and pppoe-server
    Pppoe,
    /// Live migration of a guest that QEMU emulates: to another port of its host, to another host, and back
    Migration,
}

impl Name {
    pub const fn title(self) -> &'static str {
        match self {
            Self::Docker => "Docker",
            Self::Podman => "podman",
            Self::Libvirt => "libvirt",
            Self::Neutron => "Neutron",
            Self::Openvswitch => "Open vSwitch",
            Self::Kubernetes => "Kubernetes",
            Self::Router => "router",
            Self::Pppoe => "router with PPPoE",
            Self::Migration => "live migration",
        }
    }

    /// What it lacks here, if it cannot be made.
    pub fn lacks(self) -> Option<&'static str> {
        match self {
            Self::Openvswitch if !kernel::has_module("openvswitch") => Some(
                "this kernel has no Open vSwitch; `cargo xtask vm --kernel 6.12 -- hosts openvswitch` has one",
            ),
            Self::Kubernetes if !kubernetes::is_there() => {
                Some("this kernel lacks what kube-proxy needs: br_netfilter, or a match such as xt_statistic")
            }
            Self::Router if !router::is_there(router::Kind::Ethernet) => Some(
                "this kernel lacks one of VLANs, flowtables, HTB, fq_codel, IFB and WireGuard; `cargo xtask vm --kernel \
                 6.12 -- hosts router` has all",
            ),
            Self::Pppoe if !router::is_there(router::Kind::Pppoe) => Some(
                "this kernel lacks PPPoE or something else of the router; `cargo xtask vm --kernel 6.12 -- hosts pppoe` has \
                 all",
            ),
            _ => None,
        }
    }

    /// Makes one; dropping it removes everything.
    pub fn build(self) -> Result<Box<dyn Host>> {
        Ok(match self {
            Self::Docker => Box::new(Containers::start(Engine::Docker)?),
            Self::Podman => Box::new(Containers::start(Engine::Podman)?),
            Self::Libvirt => Box::new(Libvirt::start()?),
            Self::Neutron => Box::new(Neutron::start()?),
            Self::Openvswitch => Box::new(OpenVswitch::start()?),
            Self::Kubernetes => Box::new(Kubernetes::start()?),
            Self::Router => Box::new(Router::start(router::Kind::Ethernet)?),
            Self::Pppoe => Box::new(Router::start(router::Kind::Pppoe)?),
            Self::Migration => Box::new(Migration::start()?),
        })
    }
}
