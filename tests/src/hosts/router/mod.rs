//! A home's router: VLANs on a trunk, MASQUERADE and a flowtable by nftables, SQM on the uplink, WireGuard beside it.
//! Needs a kernel with all of them; the commands are this machine's.
//!
//! ```text
//!  pc  eth0 192.168.10.10 ── VLAN 10 ┐        lan.10 │ router: nftables │ wan 203.0.113.1 (HTB, IFB) ── outside
//!                                  switch ── lan     │                  │ wg0 10.9.0.1 ┄┄┄ 10.9.0.2 of outside
//!  tv  eth0 192.168.20.10 ── VLAN 20 ┘        lan.20 │                  │
//! ```

mod shaper;
mod wireguard;

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::check::{BULK, Check};
use super::connection::Connection;
use super::host::{Event, Host};
use super::kernel::has_module;
use super::outside::{HOST, OUTSIDE, Outside};
use super::streams::{Client, IPERF, Stream};
use super::way::Way;
use crate::ends::http::Server;
use crate::ends::tools;
use crate::netns::Namespace;
use crate::netns::isolate::{Isolation, isolate};
use crate::process::wait::wait_until;

const RULES: &str = include_str!("rules.nft");

const PC: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 10);
const TV: Ipv4Addr = Ipv4Addr::new(192, 168, 20, 10);
const HTTP: u16 = 80;
/// Leads to the one of `pc`.
const FORWARDED: u16 = 8080;

/// What it is made of.
const MODULES: [&str; 8] = [
    "8021q",
    "nf_flow_table",
    "nft_flow_offload",
    "sch_htb",
    "sch_fq_codel",
    "act_mirred",
    "ifb",
    "wireguard",
];

/// The streams whose packets pass SQM and WireGuard.
const OUT: &str = "VLAN 10 to outside";
const TUNNELLED: &str = "VLAN 10 to the other end of WireGuard";

#[derive(Debug)]
pub struct Router {
    pc: Namespace,
    tv: Namespace,
    _switch: Namespace,
    _servers: [Server; 3],
    // In the order of removal.
    outside: Outside,
    network: Namespace,
    _isolation: Isolation,
}

impl Router {
    pub fn start() -> Result<Self> {
        let isolation = isolate()?;
        let (network, outside) = Outside::unnumbered("wan")?;
        network.ip(&format!("addr add {HOST}/24 dev wan\nroute add default via {OUTSIDE}"))?;
        network.sysctl("net.ipv4.ip_forward", "1")?;
        let switch = Namespace::new("switch")?;
        switch.ip("link add br0 type bridge vlan_filtering 1 vlan_default_pvid 0\nlink set br0 up")?;
        network.ip("link add lan type veth peer name trunk netns switch\nlink set lan up")?;
        switch.ip("link set trunk master br0 up")?;
        let [pc, tv] = ["pc", "tv"].map(Namespace::new);
        let (pc, tv) = (pc?, tv?);
        for (vlan, client, address) in [(10, &pc, PC), (20, &tv, TV)] {
            network.ip(&format!(
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
        wireguard::begin(&network, &outside.namespace)?;
        load(&network)?;
        shaper::begin(&network)?;
        for namespace in [&network, &switch, &pc, &tv] {
            namespace.wait_for_carriers()?;
        }
        let servers = [
            Server::start(&pc, (PC, HTTP))?,
            Server::start(&tv, (TV, HTTP))?,
            Server::start(&outside.namespace, (wireguard::FAR, HTTP))?,
        ];
        Ok(Self { pc, tv, _switch: switch, _servers: servers, outside, network, _isolation: isolation })
    }

    fn download_passes_the_queue(&self) -> Result<()> {
        shaper::sees(&self.network, true, BULK, || tools::download(&self.pc, &Outside::url(), &[]).map(drop))
    }

    fn upload_passes_the_queue(&self) -> Result<()> {
        let upload = || tools::upload(&self.pc, &Outside::origin(), BULK).map(drop);
        shaper::sees(&self.network, false, BULK, upload)
    }

    /// A connection that runs is the flowtable's.
    fn flowtable_takes_a_flow(&self) -> Result<()> {
        let mut connection = Connection::open(&self.pc, Outside::server())?;
        for _ in 0..50 {
            connection.ask()?;
        }
        let flows = self.network.cmd("conntrack").args(["-L", "-p", "tcp"]).output_text()?;
        ensure!(flows.contains("[OFFLOAD]"), "conntrack has no flow of it: {flows}");
        Ok(())
    }

    /// Packets are repeated as long as it is not there, and none goes past it half a second after it has come back.
    fn sqm_goes_and_comes_back(&self) -> Result<()> {
        shaper::end(&self.network)?;
        let without = match self.repeated() {
            Some(before) => {
                let more = || Ok(self.repeated().is_some_and(|now| now > before + 100));
                wait_until("packets are repeated without SQM", Duration::from_secs(3), more)
            }
            None => Ok(()),
        };
        shaper::write(&self.network)?;
        thread::sleep(Duration::from_millis(500));
        without.and(shaper::sees_all(&self.network))
    }

    fn make_and_remove_a_vlan(&self) -> Result<()> {
        self.network.ip("link add link lan name lan.30 type vlan id 30\nlink set lan.30 up\nlink del lan.30")
    }
}

/// Loads the rules, those before them being gone at the same moment.
fn load(router: &Namespace) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(RULES.as_bytes())?;
    router.cmd("nft").arg("-f").arg(file.path()).run()
}

impl Host for Router {
    fn network(&self) -> &Namespace {
        &self.network
    }

    fn checks(&self) -> Vec<Check<'_>> {
        let (pc, tv, outside) = (&self.pc, &self.tv, &self.outside.namespace);
        let page = |address: Ipv4Addr, port: u16| format!("http://{address}:{port}/bytes/{BULK}");
        vec![
            Check::ping("VLAN 10 pings outside", pc, OUTSIDE),
            Check::download("VLAN 10 to outside", pc, Outside::url()),
            Check::download("VLAN 20 to outside", tv, Outside::url()),
            Check::download("VLAN 10 to VLAN 20", pc, page(TV, HTTP)),
            Check::refused("VLAN 20 does not reach VLAN 10", tv, page(PC, HTTP)),
            Check::download("outside to the forwarded port", outside, page(HOST, FORWARDED)),
            Check::refused("outside reaches nothing else", outside, page(HOST, HTTP)),
            Check::download("VLAN 10 by WireGuard", pc, page(wireguard::FAR, HTTP)),
            Check::download("by WireGuard to VLAN 10", outside, page(PC, HTTP)),
            Check::new("SQM has a download", || self.download_passes_the_queue()),
            Check::new("SQM has an upload", || self.upload_passes_the_queue()),
            Check::new("the flowtable has a flow that runs", || self.flowtable_takes_a_flow()),
        ]
    }

    fn streams(&self) -> Vec<Stream<'_>> {
        let outside = &self.outside.namespace;
        let stream = |name, server, address| Stream {
            name,
            client: Client::Namespace(&self.pc),
            server,
            address,
            port: IPERF,
        };
        vec![
            stream(OUT, outside, OUTSIDE),
            stream(TUNNELLED, outside, wireguard::FAR),
            stream("VLAN 10 to VLAN 20", &self.tv, TV),
        ]
    }

    fn left_to_kernel(&self, stream: &Stream<'_>) -> Option<&'static str> {
        match stream.name {
            OUT => Some("wan"),
            TUNNELLED => Some("wg0"),
            _ => None,
        }
    }

    fn events(&self) -> Vec<Event<'_>> {
        vec![
            Event { what: "rules are loaded anew", happen: Box::new(|| load(&self.network)) },
            Event { what: "SQM goes and comes back", happen: Box::new(|| self.sqm_goes_and_comes_back()) },
            Event { what: "a VLAN is made and removed", happen: Box::new(|| self.make_and_remove_a_vlan()) },
        ]
    }

    fn ways(&self) -> Vec<Way<'_>> {
        Vec::new()
    }
}

/// Whether this kernel has all of [`MODULES`].
pub fn is_there() -> bool {
    MODULES.iter().all(|name| has_module(name))
}
