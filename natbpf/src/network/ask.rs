//! Asking the kernel for interfaces, addresses and routes.

use std::net::Ipv4Addr;

use futures::TryStreamExt as _;
use netlink_packet_route::AddressFamily;
use rtnetlink::RouteMessageBuilder;

use super::{
    Changes, NetworkError, Route, Snapshot, address::address, ethtool::Ethtool, link::link, routes::routes,
};
use crate::netlink::Requests;

/// Asks the kernel. A task of the current runtime does the talking.
#[derive(Debug)]
pub struct Network {
    requests: Requests,
}

impl Network {
    /// Opens a socket in the network namespace of the calling thread. Needs a Tokio runtime.
    pub fn open() -> Result<Self, NetworkError> {
        Ok(Self { requests: Requests::open().map_err(NetworkError::Open)? })
    }

    pub(super) const fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Lists links and addresses. Two questions to the kernel: what changes in between is told by
    /// [`Changes`], if that was opened before.
    pub async fn snapshot(&self) -> Result<Snapshot, NetworkError> {
        let links = self.requests.ask(|handle| handle.link().get().execute().map_ok(link));
        let mut links = links.await.map_err(NetworkError::Dump)?;
        links.sort_by_key(|link| link.index);
        let ethtool = Ethtool::open().map_err(NetworkError::Open)?;
        for link in links.iter_mut().filter(|link| link.abroad) {
            link.takes_unfinished = ethtool.takes_unfinished(&link.name);
        }
        let addresses = self.requests.ask(|handle| {
            let mut request = handle.address().get();
            request.message_mut().header.family = AddressFamily::Inet;
            request.execute()
        });
        let addresses = addresses.await.map_err(NetworkError::Dump)?.iter().filter_map(address).collect();
        Ok(Snapshot { links, addresses, ..Snapshot::default() })
    }

    /// Lists the routes to networks beyond interfaces.
    pub async fn routes(&self) -> Result<Vec<Route>, NetworkError> {
        let every = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let messages = self.requests.ask(|handle| handle.route().get(every).execute());
        let messages = messages.await.map_err(NetworkError::Dump)?;
        Ok(messages.iter().flat_map(routes).collect())
    }

    /// Starts to listen for changes, in the network namespace of the calling thread.
    pub fn changes(&self) -> Result<Changes, NetworkError> {
        Changes::open().map_err(NetworkError::Watch)
    }
}

#[cfg(test)]
mod tests {
    use natbpf_common::IfIndex;

    use super::*;

    #[tokio::test]
    async fn the_loopback_is_there() {
        let network = Network::open().unwrap();
        let snapshot = network.snapshot().await.unwrap();
        let loopback = &snapshot.links[0];
        assert_eq!(
            (loopback.index, &*loopback.name, loopback.link_header()),
            (IfIndex::new(1), "lo", Some(14))
        );
        assert_eq!(snapshot.name(IfIndex::new(1)), "lo");
        assert_eq!(snapshot.name(IfIndex::new(u32::MAX)), "if4294967295");
    }
}
