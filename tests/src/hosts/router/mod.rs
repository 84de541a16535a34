//! A home's router: VLANs on a trunk, MASQUERADE and a flowtable by nftables, SQM on the uplink, WireGuard beside it.
//! Needs a kernel with all of them; the commands are this machine's.
//!
//! ```text
//!  pc  eth0 192.168.10.10 ── VLAN 10 ┐        lan.10 │ router: nftables │ wan 203.0.113.1 (HTB, IFB) ── outside
//!                                  switch ── lan     │                  │ wg0 10.9.0.1 ┄┄┄ 10.9.0.2 of outside
//!  tv  eth0 192.168.20.10 ── VLAN 20 ┘        lan.20 │                  │
//! ```
//!
//! With PPPoE the address and the queues are those of `ppp0`, and a provider is between `wan` and the outside.

mod lan;
mod pppoe;
mod shaper;
mod uplink;
mod wireguard;

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::check::{BULK, Check};
use super::connection::Connection;
use super::host::{Event, Host};
use super::kernel::has_module;
use super::outside::{HOST, OUTSIDE, Outside};
use super::streams::Stream;
use super::way::Way;
use crate::ends::http::Server;
use crate::ends::tools;
use crate::netns::Namespace;
use crate::netns::isolate::{Isolation, isolate};
use crate::process::wait::wait_until;
use lan::{HTTP, Lan, PC, TV};
use pppoe::Line;
use uplink::Uplink;

pub use uplink::Kind;

const RULES: &str = include_str!("rules.nft");

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
/// What PPPoE is made of.
const PPP_MODULES: [&str; 2] = ["ppp_generic", "pppoe"];

/// The streams whose packets pass SQM and WireGuard.
const OUT: &str = "VLAN 10 to outside";
const TUNNELLED: &str = "VLAN 10 to the other end of WireGuard";

#[derive(Debug)]
pub struct Router {
    lan: Lan,
    uplink: Uplink,
    _server: Server,
    // In the order of removal.
    outside: Outside,
    network: Namespace,
    _isolation: Isolation,
}

impl Router {
    pub fn start(kind: Kind) -> Result<Self> {
        let isolation = isolate()?;
        let (network, outside, uplink) = Uplink::begin(kind)?;
        network.sysctl("net.ipv4.ip_forward", "1")?;
        let lan = Lan::begin(&network)?;
        wireguard::begin(&network, &outside.namespace)?;
        load(&network, uplink.device())?;
        shaper::begin(&network, uplink.device())?;
        let server = Server::start(&outside.namespace, (wireguard::FAR, HTTP))?;
        Ok(Self { lan, uplink, _server: server, outside, network, _isolation: isolation })
    }

    fn load(&self) -> Result<()> {
        load(&self.network, self.uplink.device())
    }

    fn download_passes_the_queue(&self) -> Result<()> {
        let download = || tools::download(&self.lan.pc, &Outside::url(), &[]).map(drop);
        shaper::sees(&self.network, shaper::IFB, BULK, download)
    }

    fn upload_passes_the_queue(&self) -> Result<()> {
        let upload = || tools::upload(&self.lan.pc, &Outside::origin(), BULK).map(drop);
        shaper::sees(&self.network, self.uplink.device(), BULK, upload)
    }

    /// A connection that runs is the flowtable's.
    fn flowtable_takes_a_flow(&self) -> Result<()> {
        let mut connection = Connection::open(&self.lan.pc, Outside::server())?;
        for _ in 0..50 {
            connection.ask()?;
        }
        let flows = self.network.cmd("conntrack").args(["-L", "-p", "tcp"]).output_text()?;
        ensure!(flows.contains("[OFFLOAD]"), "conntrack has no flow of it: {flows}");
        Ok(())
    }

    /// Packets are repeated as long as it is not there, and none goes past it half a second after it has come back.
    fn sqm_goes_and_comes_back(&self) -> Result<()> {
        shaper::end(&self.network, self.uplink.device())?;
        let without = match self.repeated() {
            Some(before) => {
                let more = || Ok(self.repeated().is_some_and(|now| now > before + 100));
                wait_until("packets are repeated without SQM", Duration::from_secs(3), more)
            }
            None => Ok(()),
        };
        shaper::write(&self.network, self.uplink.device())?;
        thread::sleep(Duration::from_millis(500));
        without.and(shaper::sees_all(&self.network, self.uplink.device()))
    }

    /// The session ends and another one begins, as with many providers every day; then the router does what pppd has
    /// done by `ip-up` there. What ran before goes on, with and without queues, and by none of natbpf's paths.
    fn reconnect(&self, line: &Line) -> Result<()> {
        let mut connection = Connection::open(&self.lan.pc, Outside::server())?;
        line.reconnect(&self.network)?;
        self.load()?;
        connection.ask().context("a connection that ran before")?;
        tools::download(&self.lan.pc, &Outside::url(), &[])?;
        shaper::follow(&self.network, self.uplink.device())?;
        self.download_passes_the_queue()?;
        connection.ask().context("a connection that ran before, with queues")?;
        // Nobody can be asked without natbpf.
        let natbpf = self.natbpf_cli()?;
        let Ok(status) = natbpf.status_json() else { return Ok(()) };
        let mut left_out = status["left_out"].as_array().into_iter().flatten();
        ensure!(
            left_out.any(|left| left["name"] == pppoe::DEVICE),
            "natbpf does not name the new device: {status}"
        );
        let paths = natbpf.cmd().args(["paths", "list", "--edge", "wan"]).output_text()?;
        ensure!(!paths.contains(&OUTSIDE.to_string()), "there are paths by PPPoE: {paths}");
        Ok(())
    }

    fn make_and_remove_a_vlan(&self) -> Result<()> {
        self.network.ip("link add link lan name lan.30 type vlan id 30\nlink set lan.30 up\nlink del lan.30")
    }
}

/// Loads the rules, those before them being gone at the same moment.
fn load(router: &Namespace, uplink: &str) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new()?;
    write!(file, "define uplink = \"{uplink}\"\n{RULES}")?;
    router.cmd("nft").arg("-f").arg(file.path()).run()
}

impl Host for Router {
    fn network(&self) -> &Namespace {
        &self.network
    }

    fn checks(&self) -> Vec<Check<'_>> {
        let (pc, tv, outside) = (&self.lan.pc, &self.lan.tv, &self.outside.namespace);
        let page = |address: Ipv4Addr, port: u16| format!("http://{address}:{port}/bytes/{BULK}");
        let mut checks = vec![
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
        ];
        if let Uplink::Pppoe(line) = &self.uplink {
            let same = || line.has_the_same_session(&self.network);
            checks.extend([
                Check::new("1492 bytes pass, 1493 do not", || pppoe::what_fits_passes(tv)),
                Check::new("TCP's segments fit into 1492 bytes", || pppoe::segments_fit(pc, outside)),
                Check::new("the session of PPPoE is the same", same),
            ]);
        }
        checks
    }

    fn streams(&self) -> Vec<Stream<'_>> {
        let (pc, outside) = (&self.lan.pc, &self.outside.namespace);
        vec![
            Stream::between(OUT, pc, outside, OUTSIDE),
            Stream::between(TUNNELLED, pc, outside, wireguard::FAR),
            Stream::between("VLAN 10 to VLAN 20", pc, &self.lan.tv, TV),
        ]
    }

    fn left_to_kernel(&self, stream: &Stream<'_>) -> Option<&'static str> {
        match stream.name {
            OUT => Some(self.uplink.device()),
            TUNNELLED => Some("wg0"),
            _ => None,
        }
    }

    fn events(&self) -> Vec<Event<'_>> {
        let of_uplink = match &self.uplink {
            Uplink::Ethernet => {
                Event { what: "SQM goes and comes back", happen: Box::new(|| self.sqm_goes_and_comes_back()) }
            }
            Uplink::Pppoe(line) => {
                Event { what: "PPPoE begins a new session", happen: Box::new(|| self.reconnect(line)) }
            }
        };
        vec![
            Event { what: "rules are loaded anew", happen: Box::new(|| self.load()) },
            of_uplink,
            Event { what: "a VLAN is made and removed", happen: Box::new(|| self.make_and_remove_a_vlan()) },
        ]
    }

    fn ways(&self) -> Vec<Way<'_>> {
        Vec::new()
    }
}

/// Whether this kernel has all that it takes.
pub fn is_there(kind: Kind) -> bool {
    let ppp: &[&str] = if kind == Kind::Pppoe { &PPP_MODULES } else { &[] };
    MODULES.iter().chain(ppp).all(|name| has_module(name))
}
