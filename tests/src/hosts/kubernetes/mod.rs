//! A node of a Kubernetes cluster without the cluster: the rules that kube-proxy writes in its mode iptables, those of
//! a CNI with a bridge, and pods as namespaces. The commands are this machine's.
//!
//! ```text
//!  cli   eth0 10.244.1.10 ── vethcli ──┐
//!  web1  eth0 10.244.1.11 ── vethweb1 ── cni0 10.244.1.1 ── node  eth0 203.0.113.1 ──── outside 203.0.113.9
//!  web2  eth0 10.244.1.12 ── vethweb2 ─┘
//! ```
//!
//! `web1` and `web2` are endpoints of the services; `web1` alone is that of `solo` and of iperf3's. The external
//! traffic policy is Cluster, so what comes by a NodePort is masqueraded, too.

mod endpoints;
mod node;
mod proxy;
mod service;

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::check::{BULK, Check};
use super::host::{Event, Host};
use super::outside::{HOST, OUTSIDE, Outside};
use super::streams::{Client, IPERF, Stream};
use super::way::Way;
use crate::ends::tools;
use crate::netns::Namespace;
use crate::topology::{End, Sources};
use node::{CLI, HTTP, NODE, WEB};

pub use node::Kubernetes;
pub use proxy::is_there;

/// The server there says who the client is.
fn is_seen_as(from: &Namespace, url: &str, source: Ipv4Addr) -> Result<()> {
    let seen = tools::fetch(from, &format!("{url}/peer"), &["--max-time", "3"])?;
    ensure!(seen.starts_with(&format!("{source}:")), "it is seen as {seen}");
    Ok(())
}

/// Somebody says at once that nobody is there.
fn is_refused_at_once(from: &Namespace, service: (Ipv4Addr, u16)) -> Result<()> {
    let began = Instant::now();
    let connected = from.tcp_connect(service);
    let error = connected.err().and_then(|error| error.downcast::<io::Error>().ok());
    let is_refused = error.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    ensure!(is_refused, "it was not refused: {error:?}");
    ensure!(began.elapsed() < Duration::from_secs(3), "that took {:?}", began.elapsed());
    Ok(())
}

impl Host for Kubernetes {
    fn network(&self) -> &Namespace {
        &self.network
    }

    fn checks(&self) -> Vec<Check<'_>> {
        let (cli, outside, host) = (&self.cli, &self.outside.namespace, &self.network);
        let web = &self.web[0].pod;
        let at = |(address, port): (Ipv4Addr, u16)| format!("http://{address}:{port}");
        let page = move |service: (Ipv4Addr, u16)| format!("{}/bytes/{BULK}", at(service));
        let node_port = (HOST, service::NODE_PORT);
        let both = |what: &str, from, service| {
            Check::new(format!("{what}: both endpoints"), move || self.both_are_reached(from, service))
        };
        let seen =
            |what: &str, from, url: String, source| Check::new(what, move || is_seen_as(from, &url, source));
        let refused = |what: &str, from, service| Check::new(what, move || is_refused_at_once(from, service));
        vec![
            Check::ping("pod pings outside", cli, OUTSIDE),
            Check::download("pod to outside", cli, Outside::url()),
            seen("outside sees the node", cli, Outside::origin(), HOST),
            Check::download("pod to pod", cli, page((WEB[0], HTTP))),
            Check::download("pod to service", cli, page(service::WEB)),
            both("pod to service", cli, service::WEB),
            seen("a service sees the pod", cli, at(service::WEB), CLI),
            Check::echo("pod to service by UDP", cli, service::DNS),
            Check::new("pod to service with affinity: one endpoint", || self.stays_with_an_endpoint()),
            Check::download("pod to its own service", web, page(service::SOLO)),
            both("endpoint to its own service", web, service::WEB),
            Check::download("pod to NodePort", cli, page(node_port)),
            Check::download("outside to NodePort", outside, page(node_port)),
            both("outside to NodePort", outside, node_port),
            seen("a service sees the node instead of outside", outside, at(node_port), NODE),
            Check::download("host to service", host, page(service::WEB)),
            both("host to service", host, service::WEB),
            Check::download("host to its NodePort", host, page(node_port)),
            refused("a service without endpoints is refused", cli, service::EMPTY),
            refused("so is its NodePort", outside, (HOST, service::EMPTY_NODE_PORT)),
        ]
    }

    fn streams(&self) -> Vec<Stream<'_>> {
        let (cli, web, outside) = (&self.cli, &self.web[0].pod, &self.outside.namespace);
        let stream = |name, client, server, (address, port)| Stream {
            name,
            client: Client::Namespace(client),
            server,
            address,
            port,
        };
        vec![
            stream("pod to outside", cli, outside, (OUTSIDE, IPERF)),
            stream("outside to NodePort", outside, web, (HOST, service::PERF_NODE_PORT)),
            stream("pod to service", cli, web, (service::PERF, IPERF)),
            stream("pod to its own service", web, web, (service::PERF, IPERF)),
            stream("pod to pod", cli, web, (WEB[0], IPERF)),
        ]
    }

    fn events(&self) -> Vec<Event<'_>> {
        vec![
            Event {
                what: "kube-proxy writes its rules anew",
                happen: Box::new(|| proxy::write(&self.network)),
            },
            Event {
                what: "an endpoint goes and comes back",
                happen: Box::new(|| endpoints::one_goes_and_comes_back(self)),
            },
            Event { what: "a pod begins and ends", happen: Box::new(|| self.begin_and_end_a_pod()) },
        ]
    }

    fn ways(&self) -> Vec<Way<'_>> {
        let outside = End { namespace: &self.outside.namespace, edge: "eth0", hop: (&self.network, "eth0") };
        vec![Way {
            name: "pod to outside",
            host: &self.network,
            inside: End { namespace: &self.cli, edge: "vethcli", hop: (&self.network, "cni0") },
            outside,
            server: OUTSIDE,
            gateway: HOST,
            sources: Sources::own(CLI),
            routed: true,
        }]
    }
}
