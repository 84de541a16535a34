//! Which hosts there are.

use anyhow::Result;
use clap::ValueEnum;

use super::containers::{Containers, Engine};
use super::host::Host;
use super::libvirt::Libvirt;
use super::neutron::Neutron;
use super::openvswitch::{self, OpenVswitch};

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
}

impl Name {
    pub const fn title(self) -> &'static str {
        match self {
            Self::Docker => "Docker",
            Self::Podman => "podman",
            Self::Libvirt => "libvirt",
            Self::Neutron => "Neutron",
            Self::Openvswitch => "Open vSwitch",
        }
    }

    /// What it lacks here, if it cannot be made.
    pub fn lacks(self) -> Option<&'static str> {
        let lacks = self == Self::Openvswitch && !openvswitch::is_there();
        lacks.then_some(
            "this kernel has no Open vSwitch; `cargo xtask vm --kernel 6.12 -- hosts openvswitch` has one",
        )
    }

    /// Makes one; dropping it removes everything.
    pub fn build(self) -> Result<Box<dyn Host>> {
        Ok(match self {
            Self::Docker => Box::new(Containers::start(Engine::Docker)?),
            Self::Podman => Box::new(Containers::start(Engine::Podman)?),
            Self::Libvirt => Box::new(Libvirt::start()?),
            Self::Neutron => Box::new(Neutron::start()?),
            Self::Openvswitch => Box::new(OpenVswitch::start()?),
        })
    }
}
