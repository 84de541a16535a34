//! What is between an instance and an outside, for those who care for its ends alone.

use std::fmt::Debug;
use std::net::Ipv4Addr;

use anyhow::Result;
use natbpf_gear::{ALL_PORTS, PORTS_PER_SOURCE};

use crate::addresses::{Family, GATEWAY, VM1};
use crate::netns::Namespace;
use crate::netns::link::{colons, link_address};

/// A host with an end on either side of it.
pub trait Site: Debug {
    /// Where natbpf runs.
    fn host(&self) -> &Namespace;

    /// The instance.
    fn inside(&self) -> End<'_>;

    fn outside(&self) -> End<'_>;

    /// The address of the outside that a server listens on.
    fn server(&self) -> Ipv4Addr;

    /// The instance's namespace, and the outside.
    fn ends(&self) -> [&Namespace; 2] {
        [self.inside().namespace, self.outside().namespace]
    }

    /// The address that the outside sees, where something translates.
    fn gateway(&self) -> Ipv4Addr {
        GATEWAY
    }

    /// Where the packets of workloads come from.
    fn sources(&self) -> Sources {
        Sources::LED
    }

    /// Whether there is a router on the way: the namespace of both ends' next hops.
    fn is_routed(&self) -> bool {
        true
    }
}

/// The addresses that are the instance's.
#[derive(Clone, Copy, Debug)]
pub struct Sources {
    pub instance: Ipv4Addr,
    /// The first one of workloads.
    pub first: Ipv4Addr,
    /// How many endpoints share an address.
    pub ports: u32,
    /// Flows begin outside: the port there, and the instance's that it leads to.
    pub published: Option<(u16, u16)>,
}

impl Sources {
    /// A hundred addresses of the masqueraded network with no machine of the lab, which are led to the instance.
    pub const LED: Self =
        Self { instance: VM1, first: Ipv4Addr::new(10, 0, 0, 16), ports: PORTS_PER_SOURCE, published: None };

    /// The instance's own address alone.
    pub const fn own(instance: Ipv4Addr) -> Self {
        Self { instance, first: instance, ports: ALL_PORTS, published: None }
    }
}

/// One end; its own device is `eth0`.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    pub namespace: &'a Namespace,
    /// The device of the host that leads to it.
    pub edge: &'a str,
    /// The device that it sends packets for the other end to.
    pub hop: (&'a Namespace, &'a str),
}

impl End<'_> {
    /// The Ethernet addresses of a frame that it sends: destination and source.
    pub fn ethernet(&self) -> Result<[[u8; 6]; 2]> {
        Ok([link_address(self.hop.0, self.hop.1)?, link_address(self.namespace, "eth0")?])
    }
}

/// Networks with the sources of [`Sources::LED`].
const LED: [(Ipv4Addr, u8); 3] =
    [(Ipv4Addr::new(10, 0, 0, 16), 28), (Ipv4Addr::new(10, 0, 0, 32), 27), (Ipv4Addr::new(10, 0, 0, 64), 26)];

/// Leads workloads to the instance and outside, and nobody has to ask for the next hop in the middle of a run.
pub fn lead_workloads(site: &dyn Site, family: Family) -> Result<()> {
    if !site.is_routed() {
        return Ok(());
    }
    let (inside, outside) = (site.inside(), site.outside());
    let ((router, inner), outer) = (inside.hop, outside.hop.1);
    let sources = site.sources();
    let [instance, server, gateway] =
        [sources.instance, site.server(), site.gateway()].map(|node| family.address(node));
    let led = if sources.first == sources.instance { &[] } else { &LED[..] };
    let led = led.iter().map(|(address, length)| {
        let network = family.network(*address, *length);
        format!("route add {network} via {instance} dev {inner} onlink\n")
    });
    let destinations = family.network(Ipv4Addr::new(198, 18, 0, 0), 15);
    let ([outer_link, server_link], [_, instance_link]) = (outside.ethernet()?, inside.ethernet()?);
    router.ip(&format!(
        "{}route replace {destinations} via {server} dev {outer}\n\
         neigh replace {server} lladdr {} dev {outer} nud permanent\n\
         neigh replace {instance} lladdr {} dev {inner} nud permanent",
        led.collect::<String>(),
        colons(server_link),
        colons(instance_link)
    ))?;
    outside
        .namespace
        .ip(&format!("neigh replace {gateway} lladdr {} dev eth0 nud permanent", colons(outer_link)))
}
