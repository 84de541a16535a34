//! What interfaces have counted.

use futures::TryStreamExt as _;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};

use super::{Link, Network, NetworkError, link::link};

/// An interface, and the packets and bytes that have come in and gone out by it, however they went on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    pub link: Link,
    pub received_packets: u64,
    pub received_bytes: u64,
    pub sent_packets: u64,
    pub sent_bytes: u64,
}

impl Meter {
    fn of(message: LinkMessage) -> Self {
        let counted = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Stats64(counted) => Some(*counted),
            _ => None,
        });
        let counted = counted.unwrap_or_default();
        Self {
            link: link(message),
            received_packets: counted.rx_packets,
            received_bytes: counted.rx_bytes,
            sent_packets: counted.tx_packets,
            sent_bytes: counted.tx_bytes,
        }
    }
}

impl Network {
    /// Those of all interfaces.
    pub async fn meters(&self) -> Result<Vec<Meter>, NetworkError> {
        let meters = self.requests().ask(|handle| handle.link().get().execute().map_ok(Meter::of));
        meters.await.map_err(NetworkError::Dump)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[tokio::test]
    async fn a_datagram_to_oneself_comes_in_and_goes_out_by_the_loopback() {
        let network = Network::open().unwrap();
        let loopback =
            async || network.meters().await.unwrap().into_iter().find(|meter| meter.link.name == "lo");
        let before = loopback().await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(&[0; 1000], socket.local_addr().unwrap()).unwrap();
        let after = loopback().await.unwrap();
        assert!(after.received_packets > before.received_packets && after.sent_packets > before.sent_packets);
        assert!(after.received_bytes >= before.received_bytes + 1000);
        assert!(after.sent_bytes >= before.sent_bytes + 1000);
    }
}
