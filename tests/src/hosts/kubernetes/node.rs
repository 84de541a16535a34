//! The node, its pods, and who of them is asked.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};

use super::{proxy, service};
use crate::ends::http::Server;
use crate::ends::reflector::Reflector;
use crate::ends::tools;
use crate::hosts::outside::{OUTSIDE, Outside};
use crate::netns::Namespace;
use crate::netns::isolate::{Isolation, isolate};

/// The bridge's own address, which pods send by; what the node masquerades toward a pod has it.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 1);
/// Link layer address of cni0.
const BRIDGE: &str = "02:00:00:00:c0:01";
pub const CLI: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 10);
pub const WEB: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 244, 1, 11), Ipv4Addr::new(10, 244, 1, 12)];
/// Where pods serve.
pub const HTTP: u16 = 8080;
const DNS: u16 = 5353;

/// So many connections come to both endpoints; that they do not happens once in eight million times.
pub const MANY: u32 = 24;

#[derive(Debug)]
pub struct Kubernetes {
    pub cli: Namespace,
    pub web: [Web; 2],
    // In the order of removal.
    pub outside: Outside,
    pub network: Namespace,
    _isolation: Isolation,
}

/// An endpoint.
#[derive(Debug)]
pub struct Web {
    http: Server,
    pub dns: Reflector,
    pub pod: Namespace,
}

impl Kubernetes {
    pub fn start() -> Result<Self> {
        let isolation = isolate()?;
        let (network, outside) = Outside::new()?;
        for name in ["net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables"] {
            network.sysctl(name, "1")?;
        }
        // As the CNI's own plugin has it, the bridge keeps its address when ports come and go. One that goes by its
        // ports has what pods send to the old address flooded, and br_netfilter shows it to MASQUERADE on its way out
        // of another device, which ends the flow (`nf_nat_oif_changed`).
        network.ip(&format!(
            "link add cni0 address {BRIDGE} type bridge\naddr add {NODE}/24 dev cni0\nlink set cni0 up"
        ))?;
        proxy::begin(&network)?;
        let cli = pod(&network, "cli", CLI)?;
        let web = |name, address| -> Result<Web> {
            let pod = pod(&network, name, address)?;
            let (http, dns) =
                (Server::start(&pod, (address, HTTP))?, Reflector::start(&pod, (address, DNS))?);
            Ok(Web { http, dns, pod })
        };
        let web = [web("web1", WEB[0])?, web("web2", WEB[1])?];
        for namespace in [&network, &cli, &web[0].pod, &web[1].pod] {
            namespace.wait_for_carriers()?;
        }
        Ok(Self { cli, web, outside, network, _isolation: isolation })
    }

    /// How many connections each endpoint has got.
    pub fn connections(&self) -> [usize; 2] {
        [0, 1].map(|index| self.web[index].http.peers().len())
    }

    /// How many of so many new connections come to each endpoint.
    pub fn balance(&self, from: &Namespace, (address, port): (Ipv4Addr, u16)) -> Result<[usize; 2]> {
        let before = self.connections();
        for _ in 0..MANY {
            tools::fetch(from, &format!("http://{address}:{port}/peer"), &["--max-time", "3"])?;
        }
        let after = self.connections();
        Ok([0, 1].map(|index| after[index] - before[index]))
    }

    pub fn both_are_reached(&self, from: &Namespace, service: (Ipv4Addr, u16)) -> Result<()> {
        let [one, other] = self.balance(from, service)?;
        ensure!(one > 0 && other > 0, "{one} connections came to one endpoint, {other} to the other");
        Ok(())
    }

    pub fn stays_with_an_endpoint(&self) -> Result<()> {
        let [one, other] = self.balance(&self.cli, service::STICKY)?;
        ensure!(one == 0 || other == 0, "{one} connections came to one endpoint, {other} to the other");
        Ok(())
    }

    /// A pod that is there for a moment.
    pub fn begin_and_end_a_pod(&self) -> Result<()> {
        let brief = pod(&self.network, "brief", Ipv4Addr::new(10, 244, 1, 99))?;
        brief.wait_for_carriers()?;
        let ping = tools::ping(&brief, OUTSIDE, "-c 4")?;
        ensure!(ping.received >= 3, "{} of {} answered", ping.received, ping.sent);
        self.network.ip("link del vethbrief")
    }
}

/// What the CNI does for one. The port lets a pod's packets come back to it, which its own services need.
fn pod(node: &Namespace, name: &str, address: Ipv4Addr) -> Result<Namespace> {
    let pod = Namespace::new(name)?;
    node.ip(&format!(
        "link add veth{name} type veth peer name eth0 netns {name}\nlink set veth{name} master cni0\n\
         link set veth{name} type bridge_slave hairpin on\nlink set veth{name} up"
    ))?;
    pod.ip(&format!("addr add {address}/24 dev eth0\nlink set eth0 up\nroute add default via {NODE}"))?;
    Ok(pod)
}
