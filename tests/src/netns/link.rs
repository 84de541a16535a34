//! Addresses of the link layer.

use anyhow::{Context, Result};

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
