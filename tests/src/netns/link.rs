//! The link layer: addresses and carriers.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Namespace;

/// An Ethernet address.
pub type Link = [u8; 6];

/// As `ip` has it.
pub fn colons(link: Link) -> String {
    link.map(|byte| format!("{byte:02x}")).join(":")
}

/// The Ethernet address of a device.
pub fn link_address(namespace: &Namespace, device: &str) -> Result<Link> {
    let text = namespace.cmd("ip").args(["-j", "link", "show", "dev", device]).output_text()?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    let address =
        links[0]["address"].as_str().with_context(|| format!("{device} has no link layer address"))?;
    let mut bytes = [0u8; 6];
    for (byte, text) in bytes.iter_mut().zip(address.split(':')) {
        *byte = u8::from_str_radix(text, 16)?;
    }
    Ok(bytes)
}

/// The name that the other end of a veth pair has in `there`.
pub fn far_end(namespace: &Namespace, device: &str, there: &Namespace) -> Result<String> {
    let links = |namespace: &Namespace, words: &[&str]| -> Result<serde_json::Value> {
        Ok(serde_json::from_str(
            &namespace.cmd("ip").args(["-j", "link", "show"]).args(words).output_text()?,
        )?)
    };
    let index = links(namespace, &["dev", device])?[0]["link_index"].clone();
    let there = links(there, &[])?;
    let found = there.as_array().into_iter().flatten().find(|link| link["ifindex"] == index);
    let name = found.and_then(|link| link["ifname"].as_str());
    Ok(name.with_context(|| format!("{device} has no other end there"))?.to_owned())
}

impl Namespace {
    /// Waits until all links that are up have a carrier. The kernel sees a moment later that the other end of one is
    /// up, or as much as a second later if links of other namespaces change, too; what is sent until then is lost.
    pub fn wait_for_carriers(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let links = self.cmd("ip").args(["-o", "link", "show", "up"]).output_text()?;
            let Some(waiting) = links.lines().find(|line| line.contains("NO-CARRIER")) else { return Ok(()) };
            ensure!(Instant::now() < end, "no carrier after 5 seconds: {waiting}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
