//! The network beyond a host: a machine with servers, on the far end of the host's network card.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::check::BULK;
use crate::ends::http::Server;
use crate::netns::Namespace;

/// The host's address there.
pub const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The machine's, which the host's default route leads to.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// The port of its HTTP server.
const HTTP: u16 = 8000;

#[derive(Debug)]
pub struct Outside {
    pub namespace: Namespace,
    _server: Server,
}

impl Outside {
    /// Makes it with the network namespace of a host whose card is `eth0`.
    pub fn new() -> Result<(Namespace, Self)> {
        let made = Self::unnumbered("eth0")?;
        made.0.ip(&format!("addr add {HOST}/24 dev eth0\nroute add default via {OUTSIDE}"))?;
        Ok(made)
    }

    /// The same where the host's card has another name, and no address.
    pub fn unnumbered(card: &str) -> Result<(Namespace, Self)> {
        let host = Namespace::new("host")?;
        let outside = Self::beyond(&host, card)?;
        Ok((host, outside))
    }

    /// Makes it with a new card of `host`, which has no address.
    pub fn beyond(host: &Namespace, card: &str) -> Result<Self> {
        let namespace = Namespace::new("outside")?;
        host.ip(&format!("link add {card} type veth peer name eth0 netns outside\nlink set {card} up"))?;
        namespace.ip(&format!("link set eth0 up\naddr add {OUTSIDE}/24 dev eth0"))?;
        for namespace in [host, &namespace] {
            namespace.wait_for_carriers()?;
        }
        let server = Server::start(&namespace, (OUTSIDE, HTTP))?;
        Ok(Self { namespace, _server: server })
    }

    /// Where its server listens.
    pub const fn server() -> (Ipv4Addr, u16) {
        (OUTSIDE, HTTP)
    }

    /// The same for a URL.
    pub fn origin() -> String {
        format!("http://{OUTSIDE}:{HTTP}")
    }

    /// Where it serves as many bytes as a check wants.
    pub fn url() -> String {
        format!("{}/bytes/{BULK}", Self::origin())
    }
}
