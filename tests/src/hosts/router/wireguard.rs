//! WireGuard between the router and the outside.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::Result;

use crate::hosts::outside::{HOST, OUTSIDE};
use crate::netns::Namespace;

const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The outside's address there.
pub const FAR: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const PORT: u16 = 51820;

pub fn begin(router: &Namespace, outside: &Namespace) -> Result<()> {
    let router_key = device(router, ROUTER)?;
    let outside_key = device(outside, FAR)?;
    outside.ip("route add 192.168.0.0/16 dev wg0")?;
    peer(router, &outside_key, OUTSIDE, "10.9.0.0/24")?;
    peer(outside, &router_key, HOST, "10.9.0.1/32,192.168.0.0/16")
}

/// Makes a device with a new key; the public one.
fn device(namespace: &Namespace, address: Ipv4Addr) -> Result<String> {
    let key = tempfile::NamedTempFile::new()?;
    fs::write(key.path(), namespace.cmd("wg").arg("genkey").output_text()?)?;
    namespace.ip(&format!("link add wg0 type wireguard\naddr add {address}/24 dev wg0\nlink set wg0 up"))?;
    let port = PORT.to_string();
    let cmd = namespace.cmd("wg").args(["set", "wg0", "listen-port", &port, "private-key"]);
    cmd.arg(key.path()).run()?;
    let public = namespace.cmd("wg").args(["show", "wg0", "public-key"]).output_text()?;
    Ok(public.trim().to_owned())
}

fn peer(namespace: &Namespace, key: &str, at: Ipv4Addr, networks: &str) -> Result<()> {
    let endpoint = format!("{at}:{PORT}");
    let words = ["set", "wg0", "peer", key, "endpoint", &endpoint, "allowed-ips", networks];
    namespace.cmd("wg").args(words).run()
}
