//! What the rows about bridging run in: three stations on a Linux bridge, alone or with `natbpf accelerate`.
//!
//! ```text
//!  station1 eth0 ── port1 ┐
//!  station2 eth0 ── port2 ┼ br0   host
//!  station3 eth0 ── port3 ┘
//! ```
//!
//! No station has an address, so nobody says anything but the [`Flow`]s of a test. A row sets the bridge up, calls
//! [`Bridge::start`], has its flows repeated by [`Bridge::repeat`], changes something, and looks by [`Bridge::soon`] at
//! who hears the next packets: natbpf follows within a second, and without it they are the kernel's anyway.

mod flow;
mod heard;
mod station;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::gateway::natbpf::{Cli, Natbpf};
use crate::netns::Namespace;
use crate::netns::isolate::{Isolation, isolate};
use crate::netns::link::{Link, colons};
use crate::process::wait::becomes_true;
pub use flow::{Flow, Marked, PROVIDER};
pub use heard::{NOWHERE, hear};
pub use station::Station;

/// What natbpf calls itself here.
const INSTANCE: &str = "bridge";

const PORTS: [&str; 3] = ["port1", "port2", "port3"];

/// With these on, as they are by default, netfilter sees frames of bridges: it cuts and drops what a bridge does not.
const CALLS: [&str; 3] = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"];

/// The address of the bridge itself.
pub const BRIDGE_LINK: Link = [2, 0, 0, 0, 1, 0];

/// Until when a change counts.
pub const SOON: Duration = Duration::from_secs(1);

/// So many packets each flow sends at a time until nearly all of them are repeated.
const PACKETS: u64 = 20;

/// So long the first packets of a flow may take, and what was changed last may still be followed.
const REPEATED: Duration = Duration::from_secs(4);

/// So many more packets have to go the same way as the first one after a change.
const MORE: usize = 5;

/// The address of a port itself.
pub const fn port_link(number: u8) -> Link {
    [2, 0, 0, 0, 1, number]
}

/// The bridge with its stations; dropping it removes everything.
#[derive(Debug)]
pub struct Bridge {
    accelerate: bool,
    /// Ends before the namespaces are taken away.
    accelerator: OnceLock<Natbpf>,
    pub host: Namespace,
    pub stations: [Station; 3],
    _isolation: Isolation,
}

impl Bridge {
    /// A bridge that floods what it does not know, and on which natbpf runs once it is [started](Self::start).
    pub fn new(accelerate: bool) -> Result<Self> {
        let isolation = isolate()?;
        let host = Namespace::new("host")?;
        let [one, two, three] = ["station1", "station2", "station3"].map(Namespace::new);
        let namespaces = [one?, two?, three?];
        // With snooping a bridge reports multicast groups by itself.
        host.ip(&format!("link add br0 address {} type bridge mcast_snooping 0", colons(BRIDGE_LINK)))?;
        for (number, port) in (1..).zip(PORTS) {
            let link = colons(port_link(number));
            host.ip(&format!(
                "link add {port} address {link} type veth peer name eth0 netns station{number}\n\
                 link set {port} master br0 up"
            ))?;
        }
        host.ip("link set br0 up")?;
        for family in CALLS {
            // Not there without br_netfilter.
            if host.read(&format!("/proc/sys/net/bridge/{family}")).is_ok() {
                host.sysctl(&format!("net.bridge.{family}"), "0")?;
            }
        }
        let [one, two, three] = namespaces;
        let stations = [Station::new(1, one)?, Station::new(2, two)?, Station::new(3, three)?];
        host.wait_for_carriers()?;
        Ok(Self { accelerate, accelerator: OnceLock::new(), host, stations, _isolation: isolation })
    }

    /// Starts natbpf on the ports, if this bridge is not one alone.
    pub fn start(&self) -> Result<()> {
        self.start_with(&[])
    }

    /// As [`Bridge::start`], on these devices besides.
    pub fn start_with(&self, more: &[&str]) -> Result<()> {
        if self.accelerate && self.accelerator.get().is_none() {
            let edges = [&PORTS[..], more].concat();
            let arguments = ["accelerate"].iter().chain(&edges);
            let natbpf = Cli::new(&self.host, INSTANCE)?.start(arguments)?;
            let ready = natbpf.ready_line();
            let found = |edge: &&str| ready.split([' ', ',']).any(|word| word == *edge);
            ensure!(edges.iter().all(found), "`natbpf accelerate` does not take {edges:?}: {ready}");
            self.accelerator.get_or_init(|| natbpf);
        }
        Ok(())
    }

    /// Fails if natbpf was started and has ended.
    pub fn still_runs(&self) -> Result<()> {
        let Some(natbpf) = self.accelerator.get() else { return Ok(()) };
        let running = natbpf.status_json()?["daemon_running"] == true;
        ensure!(running, "`natbpf accelerate` has ended: {}", natbpf.log());
        Ok(())
    }

    /// What natbpf and the bridge have to say.
    pub fn account(&self) -> String {
        let said = || -> Result<String> {
            let fdb = self.bridge("fdb show br br0")?;
            let Some(natbpf) = self.accelerator.get() else { return Ok(format!("bridge alone:\n{fdb}")) };
            let paths = natbpf.cli().cmd().args(["paths", "list"]).output_text()?;
            Ok(format!("with natbpf:\n{fdb}\n{}\n{paths}\n{}\n", natbpf.status()?, natbpf.log()))
        };
        said().unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Runs `bridge` with these words, and returns what it says.
    pub fn bridge(&self, words: &str) -> Result<String> {
        self.host.cmd("bridge").args(words.split(' ')).output_text()
    }

    /// The bridge's table, a line an entry, as `bridge fdb show` has it.
    pub fn table(&self) -> Result<Vec<String>> {
        let text = self.bridge("fdb show br br0")?;
        let own = |line: &&str| line.contains(" master br0");
        Ok(text.lines().filter(own).map(|line| line.trim_end().to_owned()).collect())
    }

    /// Whether the table has `link` at `port`.
    pub fn has(&self, link: Link, port: &str) -> Result<bool> {
        let entry = format!("{} dev {port} ", colons(link));
        Ok(self.table()?.iter().any(|line| line.starts_with(&entry)))
    }

    /// A setting of the bridge, as `ip -d link show` has it.
    pub fn setting(&self, name: &str) -> Result<u64> {
        let text = self.host.cmd("ip").args(["-d", "-j", "link", "show", "dev", "br0"]).output_text()?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        links[0]["linkinfo"]["info_data"][name].as_u64().with_context(|| format!("br0 has no {name}"))
    }

    /// Each station says something to all, so that the bridge knows where they are.
    pub fn introduce(&self) -> Result<()> {
        for station in &self.stations {
            station.wire.send_frame(&Flow::to_all(station).frame().bytes)?;
        }
        Ok(())
    }

    /// Sends packets of these flows. With natbpf, until nearly all of each are repeated: what is looked at then are
    /// those.
    pub fn repeat(&self, flows: &[&Flow<'_>]) -> Result<()> {
        for flow in flows {
            let send = || (0..PACKETS).try_for_each(|_| flow.send());
            let Some(natbpf) = self.accelerator.get() else {
                send()?;
                continue;
            };
            let are_repeated = || {
                let before = natbpf.counter("packets_repeated")?;
                send()?;
                Ok(natbpf.counter("packets_repeated")? - before >= PACKETS * 9 / 10)
            };
            ensure!(
                becomes_true(REPEATED, are_repeated)?,
                "natbpf does not repeat {flow:?}\n{}",
                self.account()
            );
        }
        Ok(())
    }

    /// Fails if natbpf has repeated less than half of the packets that were sent since it had repeated `before`.
    pub fn most_were_repeated(&self, before: u64, sent: u64) -> Result<()> {
        let repeated = self.repeated()? - before;
        ensure!(
            self.accelerator.get().is_none() || repeated > sent / 2,
            "of {sent} packets {repeated} were repeated\n{}",
            self.account()
        );
        Ok(())
    }

    /// Packets that natbpf has repeated; 0 without it.
    pub fn repeated(&self) -> Result<u64> {
        self.accelerator.get().map_or(Ok(0), |natbpf| natbpf.counter("packets_repeated"))
    }

    /// Sends a packet of a flow and says who [hears](hear) it.
    pub fn hear(&self, flow: &Flow<'_>) -> Result<String> {
        self.hear_frame(flow.station, &flow.frame())
    }

    /// Sends a frame from a station and says who [hears](hear) it.
    pub fn hear_frame(&self, from: &Station, frame: &Marked) -> Result<String> {
        let [one, two, three] = &self.stations;
        hear(from, frame, &[one, two, three])
    }

    /// Sends packets of a flow until those hear them that should, for a second at most, and then some more, all of
    /// which have to be heard by the same. Says who hears the last one.
    pub fn soon(&self, flow: &Flow<'_>, wanted: &str) -> Result<String> {
        soon(wanted, || self.hear(flow))
    }
}

/// As [`Bridge::soon`] for what `hear` says.
pub fn soon(wanted: &str, hear: impl Fn() -> Result<String>) -> Result<String> {
    let end = Instant::now() + SOON;
    let mut heard = hear()?;
    while heard != wanted && Instant::now() < end {
        heard = hear()?;
    }
    for _ in 0..MORE {
        if heard != wanted {
            break;
        }
        heard = hear()?;
    }
    Ok(heard)
}
