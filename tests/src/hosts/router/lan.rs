//! The inside: a trunk with two VLANs, the switch that takes it apart, and a client in each.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::ends::http::Server;
use crate::netns::Namespace;

pub const PC: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 10);
pub const TV: Ipv4Addr = Ipv4Addr::new(192, 168, 20, 10);
/// The port of both servers.
pub const HTTP: u16 = 80;

#[derive(Debug)]
pub struct Lan {
    pub pc: Namespace,
    pub tv: Namespace,
    _switch: Namespace,
    _servers: [Server; 2],
}

impl Lan {
    /// Gives the router `lan`, `lan.10` and `lan.20`.
    pub fn begin(router: &Namespace) -> Result<Self> {
        let switch = Namespace::new("switch")?;
        switch.ip("link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0\nlink set br0 up")?;
        router.ip("link add lan type veth peer name trunk netns switch\nlink set lan up")?;
        switch.ip("link set trunk master br0 up")?;
        let [pc, tv] = ["pc", "tv"].map(Namespace::new);
        let (pc, tv) = (pc?, tv?);
        for (vlan, client, address) in [(10, &pc, PC), (20, &tv, TV)] {
            router.ip(&format!(
                "link add link lan name lan.{vlan} type vlan id {vlan}\naddr add 192.168.{vlan}.1/24 dev lan.{vlan}\n\
                 link set lan.{vlan} up"
            ))?;
            switch.ip(&format!(
                "link add port{vlan} type veth peer name eth0 netns {}\nlink set port{vlan} master br0 up",
                client.name()
            ))?;
            let vlan = vlan.to_string();
            let port = format!("port{vlan}");
            let bridge =
                |words: &[&str]| switch.cmd("bridge").args(["vlan", "add", "vid", &vlan]).args(words).run();
            bridge(&["dev", "trunk"])?;
            bridge(&["dev", &port, "pvid", "untagged"])?;
            client.ip(&format!(
                "addr add {address}/24 dev eth0\nlink set eth0 up\nroute add default via 192.168.{vlan}.1"
            ))?;
        }
        for namespace in [router, &switch, &pc, &tv] {
            namespace.wait_for_carriers()?;
        }
        let servers = [Server::start(&pc, (PC, HTTP))?, Server::start(&tv, (TV, HTTP))?];
        Ok(Self { pc, tv, _switch: switch, _servers: servers })
    }
}
