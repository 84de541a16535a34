//! A node of a cloud, as its platform wires it: nine devices from an instance to the outside, and the translation in a
//! namespace of its own.
//!
//! ```text
//!  vm1                 host                                                             host           out
//!  eth0 ── tap0 ┐                                │ router           │              ┌ br-ex ┐
//!  vm2         qbr ── qvb ─ qvo ── br-int ── (port) qr ─ MASQUERADE ─ qg (port) ───┘       eth0 ── eth0
//!  eth0 ── tap1 ┘
//! ```
//!
//! The devices and addresses of an instance are those of the standard lab, each machine has an IPv6 address besides.
//! `out` has no route to the instances.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::site::{End, Site};
use crate::addresses::{
    GATEWAY, GATEWAY_INSIDE, GATEWAY_INSIDE_V6, GATEWAY_V6, SERVER, SERVER_V6, VM1, VM1_V6, VM2, VM2_V6,
};
use crate::gateway::natbpf::{Cli, INSTANCE};
use crate::netns::Namespace;
use crate::netns::isolate::{Isolation, isolate};

/// Bridges of the host with their ports. The last two of `br-int` and `br-ex` are the host's ends of the router's
/// devices.
const BRIDGES: [(&str, &[&str]); 3] =
    [("qbr", &["tap0", "tap1", "qvb"]), ("br-int", &["qvo", "int-qr"]), ("br-ex", &["ex-qg", "eth0"])];

const PAIRS: [&str; 6] = [
    "tap0 type veth peer name eth0 netns vm1",
    "tap1 type veth peer name eth0 netns vm2",
    "qvb type veth peer name qvo",
    "int-qr type veth peer name qr netns router",
    "ex-qg type veth peer name qg netns router",
    "eth0 type veth peer name eth0 netns out",
];

/// A node with two instances and an outside; dropping it removes everything.
#[derive(Debug)]
pub struct Node {
    pub vm1: Namespace,
    pub vm2: Namespace,
    /// Where the bridges are, and natbpf.
    pub host: Namespace,
    pub router: Namespace,
    pub out: Namespace,
    _isolation: Isolation,
}

impl Node {
    /// One whose router translates.
    pub fn new() -> Result<Self> {
        let node = Self::untranslated()?;
        let rule = ["-t", "nat", "-A", "POSTROUTING", "-o", "qg", "-j", "MASQUERADE"];
        node.router.cmd("iptables").args(rule).run()?;
        node.router.cmd("ip6tables").args(rule).run()?;
        Ok(node)
    }

    /// One whose router has no rules.
    pub fn untranslated() -> Result<Self> {
        let isolation = isolate()?;
        let with_ipv6 = |name| Namespace::new(name)?.with_ipv6();
        let node = Self {
            vm1: with_ipv6("vm1")?,
            vm2: with_ipv6("vm2")?,
            // Its bridges have no address of their own.
            host: Namespace::new("host")?,
            router: with_ipv6("router")?,
            out: with_ipv6("out")?,
            _isolation: isolation,
        };
        node.wire()?;
        node.route()?;
        node.number()?;
        for namespace in [&node.vm1, &node.vm2, &node.host, &node.router, &node.out] {
            namespace.wait_for_carriers()?;
        }
        Ok(node)
    }

    /// Everybody.
    pub fn namespaces(&self) -> [&Namespace; 5] {
        [&self.vm1, &self.vm2, &self.host, &self.router, &self.out]
    }

    /// natbpf's command line in the host.
    pub fn natbpf_cli(&self) -> Result<Cli> {
        Cli::new(&self.host, INSTANCE)
    }

    fn wire(&self) -> Result<()> {
        let pairs = PAIRS.map(|pair| format!("link add {pair}\n"));
        let bridges = BRIDGES.map(|(bridge, ports)| {
            let ports = ports.iter().map(|port| format!("link set {port} master {bridge} up\n"));
            format!("link add {bridge} type bridge\nlink set {bridge} up\n{}", ports.collect::<String>())
        });
        self.host.ip(&(pairs.concat() + &bridges.concat()))
    }

    fn route(&self) -> Result<()> {
        self.router.sysctl("net.ipv4.ip_forward", "1")?;
        self.router.sysctl("net.ipv6.conf.all.forwarding", "1")
    }

    /// Gives the machines their addresses.
    fn number(&self) -> Result<()> {
        self.router.ip(&format!(
            "addr add {GATEWAY_INSIDE}/24 dev qr\naddr add {GATEWAY_INSIDE_V6}/64 dev qr\nlink set qr up\n\
             addr add {GATEWAY}/24 dev qg\naddr add {GATEWAY_V6}/64 dev qg\nlink set qg up"
        ))?;
        self.out.ip(&format!(
            "addr add {SERVER}/24 dev eth0\naddr add {SERVER_V6}/64 dev eth0\nlink set eth0 up"
        ))?;
        for (vm, address, address_v6) in [(&self.vm1, VM1, VM1_V6), (&self.vm2, VM2, VM2_V6)] {
            vm.ip(&format!(
                "addr add {address}/24 dev eth0\naddr add {address_v6}/64 dev eth0\nlink set eth0 up\n\
                 route add default via {GATEWAY_INSIDE}\nroute add ::/0 via {GATEWAY_INSIDE_V6}"
            ))?;
        }
        Ok(())
    }
}

impl Site for Node {
    fn host(&self) -> &Namespace {
        &self.host
    }

    fn inside(&self) -> End<'_> {
        End { namespace: &self.vm1, edge: "tap0", hop: (&self.router, "qr") }
    }

    fn outside(&self) -> End<'_> {
        End { namespace: &self.out, edge: "eth0", hop: (&self.router, "qg") }
    }

    fn server(&self) -> Ipv4Addr {
        SERVER
    }
}
