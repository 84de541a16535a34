//! A station: a namespace with one device and no address.

use anyhow::Result;

use crate::netns::Namespace;
use crate::netns::link::{Link, colons};
use crate::wire::Wire;

/// Says nothing by itself.
#[derive(Debug)]
pub struct Station {
    pub number: u8,
    pub namespace: Namespace,
    pub link: Link,
    /// At `eth0`, with tags.
    pub wire: Wire,
}

impl Station {
    /// Takes the `eth0` that is in the namespace. Frames as long as the tests send them fit.
    pub fn new(number: u8, namespace: Namespace) -> Result<Self> {
        let link = [2, 0, 0, 0, 0, number];
        namespace.ip(&format!("link set eth0 address {} mtu 2000 up", colons(link)))?;
        namespace.wait_for_carriers()?;
        let wire = Wire::open(&namespace, "eth0", link, link)?.with_tags()?;
        Ok(Self { number, namespace, link, wire })
    }
}
