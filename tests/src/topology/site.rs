//! What is between an instance and an outside, for those who care for its ends alone.

use std::fmt::Debug;
use std::net::Ipv4Addr;

use anyhow::Result;

use crate::addresses::{Family, GATEWAY, SERVER, VM1};
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

    /// Whether there is a router on the way: the namespace of both ends' next hops.
    fn is_routed(&self) -> bool {
        true
    }
}

/// One end; its own device is `eth0`.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    pub namespace: &'a Namespace,
    /// The device of the host that leads to it.
    pub edge: &'static str,
    /// The device that it sends packets for the other end to.
    pub hop: (&'a Namespace, &'static str),
}

impl End<'_> {
    /// The Ethernet addresses of a frame that it sends: destination and source.
    pub fn ethernet(&self) -> Result<[[u8; 6]; 2]> {
        Ok([link_address(self.hop.0, self.hop.1)?, link_address(self.namespace, "eth0")?])
    }
}

/// Networks with the sources of all workloads and with no machine of the lab.
const SOURCES: [(Ipv4Addr, u8); 3] =
    [(Ipv4Addr::new(10, 0, 0, 16), 28), (Ipv4Addr::new(10, 0, 0, 32), 27), (Ipv4Addr::new(10, 0, 0, 64), 26)];

/// Leads workloads to the instance and outside, and nobody has to ask for the next hop in the middle of a run.
pub fn lead_workloads(site: &dyn Site, family: Family) -> Result<()> {
    if !site.is_routed() {
        return Ok(());
    }
    let (inside, outside) = (site.inside(), site.outside());
    let ((router, inner), outer) = (inside.hop, outside.hop.1);
    let [instance, server, gateway] = [VM1, SERVER, GATEWAY].map(|node| family.address(node));
    let sources = SOURCES.map(|(address, length)| {
        let network = family.network(address, length);
        format!("route add {network} via {instance} dev {inner} onlink\n")
    });
    let destinations = family.network(Ipv4Addr::new(198, 18, 0, 0), 15);
    let ([outer_link, server_link], [_, instance_link]) = (outside.ethernet()?, inside.ethernet()?);
    router.ip(&format!(
        "{}route add {destinations} via {server} dev {outer}\n\
         neigh replace {server} lladdr {} dev {outer} nud permanent\n\
         neigh replace {instance} lladdr {} dev {inner} nud permanent",
        sources.concat(),
        colons(server_link),
        colons(instance_link)
    ))?;
    outside
        .namespace
        .ip(&format!("neigh replace {gateway} lladdr {} dev eth0 nud permanent", colons(outer_link)))
}
