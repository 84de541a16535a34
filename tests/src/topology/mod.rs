//! The standard lab.
//!
//! ```text
//!  vm1  eth0 10.0.0.11/24 ──── port1 ┐         gw
//!                                  br0 10.0.0.1/24   wan 203.0.113.1/24 ──── eth0 203.0.113.10/24  out
//!  vm2  eth0 10.0.0.12/24 ──── port2 ┘                                           203.0.113.12/24
//! ```
//!
//! `out` has no route to 10.0.0.0/24: a packet that leaves untranslated is never answered.

pub(crate) mod node;
mod site;
pub(crate) mod trace;
mod tun;

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::addresses::{
    GATEWAY, GATEWAY_INSIDE, GATEWAY_INSIDE_V6, GATEWAY_V6, SERVER, SERVER_V6, SERVER2, VM1, VM1_V6, VM2,
    VM2_V6,
};
use crate::gateway::nat::{Kind, Translation};
use crate::gateway::natbpf::{Cli, INSTANCE};
use crate::gateway::rule::Rule;
use crate::gateway::setup::Setup;
use crate::netns::Namespace;
use crate::netns::isolate::{Isolation, isolate};
use tun::TunPair;

pub use site::{End, Site, Sources, lead_workloads};
pub use tun::Tap;

const NO_OFFLOADS: &str = "tx off rx off sg off tso off gso off gro off";

/// The kind of device that `wan` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Uplink {
    #[default]
    Veth,
    /// A device without an Ethernet header, as WireGuard and PPP have.
    Tun,
}

/// What differs from the standard lab.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Instances on a bridge, or each on a veth that the gateway routes.
    pub bridge: bool,
    /// Checksum offload, scatter-gather, TSO, GSO and GRO of every veth.
    pub offloads: bool,
    pub uplink: Uplink,
    /// Addresses of IPv6 besides.
    pub ipv6: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { bridge: true, offloads: true, uplink: Uplink::Veth, ipv6: false }
    }
}

/// A lab; dropping it removes everything.
#[derive(Debug)]
pub struct Lab {
    // In the order of removal: the shovel of a TUN pair holds the namespaces.
    _tun: Option<TunPair>,
    pub vm1: Namespace,
    pub vm2: Namespace,
    pub gw: Namespace,
    pub out: Namespace,
    options: Options,
    _isolation: Isolation,
}

impl Site for Lab {
    fn host(&self) -> &Namespace {
        &self.gw
    }

    fn inside(&self) -> End<'_> {
        End { namespace: &self.vm1, edge: "port1", hop: (&self.gw, self.inside_device()) }
    }

    fn outside(&self) -> End<'_> {
        End { namespace: &self.out, edge: "wan", hop: (&self.gw, "wan") }
    }

    fn server(&self) -> Ipv4Addr {
        SERVER
    }
}

impl Lab {
    /// The standard lab: a bridge, all offloads on, a veth as uplink.
    pub fn new() -> Result<Self> {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Result<Self> {
        let isolation = isolate()?;
        let [gw, out, vm1, vm2] = ["gw", "out", "vm1", "vm2"].map(|name| {
            let namespace = Namespace::new(name)?;
            if options.ipv6 { namespace.with_ipv6() } else { Ok(namespace) }
        });
        let (gw, out, vm1, vm2) = (gw?, out?, vm1?, vm2?);
        gw.sysctl("net.ipv4.ip_forward", "1")?;

        let tun = uplink(options.uplink, &gw, &out)?;
        gw.ip(&format!("addr add {GATEWAY}/24 dev wan"))?;
        out.ip(&format!("addr add {SERVER}/24 dev eth0\naddr add {SERVER2}/24 dev eth0"))?;
        inside(options.bridge, &gw)?;
        for (vm, address) in [(&vm1, VM1), (&vm2, VM2)] {
            vm.ip(&format!(
                "addr add {address}/24 dev eth0\nlink set eth0 up\nroute add default via {GATEWAY_INSIDE}"
            ))?;
        }
        let lab = Self { _tun: tun, vm1, vm2, gw, out, options, _isolation: isolation };
        if options.ipv6 {
            lab.add_ipv6()?;
        }
        lab.wait_for_carriers()?;
        if !options.offloads {
            lab.offloads_off()?;
        }
        Ok(lab)
    }

    /// Starts a translator in the gateway.
    pub fn translate(&self, kind: Kind, rules: &[Rule]) -> Result<Translation<'_>> {
        self.translate_with(kind, &Setup::with(rules))
    }

    /// Starts a translator in the gateway with a whole configuration.
    pub fn translate_with(&self, kind: Kind, setup: &Setup) -> Result<Translation<'_>> {
        Translation::start(&self.gw, INSTANCE, kind, setup)
    }

    /// natbpf's command line in the gateway, for what [`Lab::translate`] does not do.
    pub fn natbpf_cli(&self) -> Result<Cli> {
        Cli::new(&self.gw, INSTANCE)
    }

    fn add_ipv6(&self) -> Result<()> {
        self.gw.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        self.gw.ip(&format!("addr add {GATEWAY_V6}/64 dev wan"))?;
        self.out.ip(&format!("addr add {SERVER_V6}/64 dev eth0"))?;
        if self.options.bridge {
            self.gw.ip(&format!("addr add {GATEWAY_INSIDE_V6}/64 dev br0"))?;
        }
        for (vm, address, port) in [(&self.vm1, VM1_V6, "port1"), (&self.vm2, VM2_V6, "port2")] {
            if !self.options.bridge {
                self.gw.ip(&format!(
                    "addr add {GATEWAY_INSIDE_V6}/128 dev {port}\nroute add {address}/128 dev {port}"
                ))?;
            }
            vm.ip(&format!("addr add {address}/64 dev eth0\nroute add ::/0 via {GATEWAY_INSIDE_V6}"))?;
        }
        Ok(())
    }

    /// The gateway's device that packets of vm1 come by.
    fn inside_device(&self) -> &'static str {
        if self.options.bridge { "br0" } else { "port1" }
    }

    /// Waits until all links that are up have a carrier.
    pub fn wait_for_carriers(&self) -> Result<()> {
        [&self.vm1, &self.vm2, &self.gw, &self.out].into_iter().try_for_each(Namespace::wait_for_carriers)
    }

    fn offloads_off(&self) -> Result<()> {
        let ports = [(&self.vm1, "eth0"), (&self.vm2, "eth0"), (&self.gw, "port1"), (&self.gw, "port2")];
        let uplink = match self.options.uplink {
            Uplink::Veth => vec![(&self.gw, "wan"), (&self.out, "eth0")],
            Uplink::Tun => vec![],
        };
        for (ns, device) in ports.into_iter().chain(uplink) {
            ns.cmd("ethtool").args(["-K", device]).args(NO_OFFLOADS.split(' ')).run()?;
        }
        Ok(())
    }
}

fn uplink(kind: Uplink, gw: &Namespace, out: &Namespace) -> Result<Option<TunPair>> {
    let up = |ns: &Namespace, devices: &[&str]| {
        let lines = devices.iter().map(|device| format!("link set {device} up\n"));
        ns.ip(&lines.collect::<String>())
    };
    match kind {
        Uplink::Veth => {
            gw.ip("link add wan type veth peer name eth0 netns out")?;
            up(gw, &["wan"])?;
            up(out, &["eth0"])?;
        }
        Uplink::Tun => {
            let pair = TunPair::new((gw, "wan"), (out, "eth0"))?;
            up(gw, &["wan"])?;
            up(out, &["eth0"])?;
            return Ok(Some(pair));
        }
    }
    Ok(None)
}

fn inside(bridge: bool, gw: &Namespace) -> Result<()> {
    let ports = "link add port1 type veth peer name eth0 netns vm1\n\
                 link add port2 type veth peer name eth0 netns vm2\n\
                 link set port1 up\nlink set port2 up\n";
    gw.ip(ports)?;
    if bridge {
        gw.ip("link add br0 type bridge\nlink set port1 master br0\nlink set port2 master br0\n\
               addr add 10.0.0.1/24 dev br0\nlink set br0 up")
    } else {
        gw.ip("addr add 10.0.0.1/32 dev port1\naddr add 10.0.0.1/32 dev port2\n\
               route add 10.0.0.11/32 dev port1\nroute add 10.0.0.12/32 dev port2")
    }
}
