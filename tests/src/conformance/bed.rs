//! The bed: two inside hosts, a gateway, an outside segment with two servers, and a router to a far server.
//!
//! ```text
//!  in1 10.0.0.11 ─┐                                             ┌─ out1 203.0.113.10, .11
//!                 ├─ br0 10.0.0.1   gw   wan 203.0.113.1 ─ seg ─┼─ out2 203.0.113.12
//!  in2 10.0.0.12 ─┘                                             └─ r2 203.0.113.254 / 198.51.100.1 ─ far 198.51.100.2
//! ```
//!
//! Every network is a /24; the device of each host is `eth0`, that of `r2` towards `far` is `far0`. The gateway's
//! default route goes to `r2`, which answers for `far` and swallows the rest. Nobody outside has a route to
//! 10.0.0.0/24: a packet that leaves untranslated is not answered.
//!
//! Four more addresses are *silent*: packets to them reach a host's device, whose stack throws them away without a
//! word. A test that writes its own packets uses them, since no stack interferes.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::{Deref, RangeInclusive};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::ends::reflector::Reflector;
use crate::gateway::nat::{Kind, Translation};
use crate::gateway::natbpf::{Cli, Natbpf};
use crate::gateway::setup::Setup;
use crate::netns::Namespace;
use crate::netns::isolate::{Isolation, isolate};
use crate::netns::link::{Link, colons};
use crate::object::End;
use crate::wire::Wire;

pub const INSIDE: &str = "10.0.0.0/24";
pub const IN1: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);
pub const IN2: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 12);
/// The gateway's address inside.
pub const GW_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The gateway's address on the uplink.
pub const GW: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub const OUT1: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The second address of `out1`.
pub const OUT1_ALIAS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
pub const OUT2: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 12);
pub const R2: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
pub const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// Reaches the device of `in1`, where no stack has it.
pub const SILENT_IN1: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 21);
/// Reaches the device of `in2`, where no stack has it.
pub const SILENT_IN2: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 22);
/// Reaches the device of `out1`, where no stack has it.
pub const SILENT_OUT1: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
/// Reaches the device of `out2`, where no stack has it.
pub const SILENT_OUT2: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 22);

const BR0_LINK: Link = [2, 0, 10, 0, 0, 1];
/// The Ethernet address of the gateway's uplink.
pub const WAN_LINK: Link = [2, 0, 203, 0, 113, 1];

/// What natbpf calls itself in a bed.
const INSTANCE: &str = "bed";

/// By which devices packets enter and leave the gateway.
const EDGES: [&str; 3] = ["port1", "port2", "wan"];

/// A host of the bed; its namespace's functions are its own (`bed.in1.udp(…)`, `bed.out1.cmd("ping")`).
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    pub address: Ipv4Addr,
    /// The Ethernet address of its `eth0`.
    pub link: Link,
    gateway: Link,
}

impl Deref for Host {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

impl Host {
    fn new(name: &str, address: Ipv4Addr, gateway: Link) -> Result<Self> {
        let [a, b, c, d] = address.octets();
        Ok(Self { namespace: Namespace::new(name)?, address, link: [2, 0, a, b, c, d], gateway })
    }

    /// Listens at `eth0`; what is sent there goes to the gateway (from `far`: to `r2`).
    pub fn wire(&self) -> Result<Wire> {
        Wire::open(self, "eth0", self.link, self.gateway)
    }
}

/// The topology, with one translator to be started in `gw`. Dropping it removes everything.
#[derive(Debug)]
pub struct Bed {
    kind: Kind,
    accelerate: bool,
    /// Ends before the namespaces are taken away.
    accelerator: OnceLock<Natbpf>,
    pub in1: Host,
    pub in2: Host,
    pub gw: Namespace,
    /// The bridge `seg` of the outside segment with the ports `gw`, `out1`, `out2` and `r2`.
    pub seg: Namespace,
    pub out1: Host,
    pub out2: Host,
    pub r2: Host,
    pub far: Host,
    _isolation: Isolation,
}

impl Bed {
    /// A bed in which [`Bed::translate`] starts `kind`.
    pub fn new(kind: Kind) -> Result<Self> {
        let isolation = isolate()?;
        let (gw, seg) = (Namespace::new("gw")?, Namespace::new("seg")?);
        let [in1, in2] =
            [("in1", IN1), ("in2", IN2)].map(|(name, address)| Host::new(name, address, BR0_LINK));
        let (in1, in2) = (in1?, in2?);
        let out1 = Host::new("out1", OUT1, WAN_LINK)?;
        let out2 = Host::new("out2", OUT2, WAN_LINK)?;
        let r2 = Host::new("r2", R2, WAN_LINK)?;
        let far = Host::new("far", FAR, [2, 0, 198, 51, 100, 1])?;
        let (accelerate, accelerator) = (false, OnceLock::new());
        let bed = Self {
            kind,
            accelerate,
            accelerator,
            in1,
            in2,
            gw,
            seg,
            out1,
            out2,
            r2,
            far,
            _isolation: isolation,
        };
        bed.links()?;
        bed.addresses()?;
        bed.gw.sysctl("net.ipv4.ip_forward", "1")?;
        bed.r2.sysctl("net.ipv4.ip_forward", "1")?;
        Ok(bed)
    }

    /// A bed in which [`Bed::translate`] starts iptables, and beside it `natbpf accelerate`, which repeats what
    /// iptables and all else in the gateway do. A test cannot tell it from iptables alone by [`Bed::kind`].
    pub fn accelerated() -> Result<Self> {
        Ok(Self { accelerate: true, ..Self::new(Kind::Iptables)? })
    }

    fn links(&self) -> Result<()> {
        // With snooping a bridge reports multicast groups by itself.
        let bridge = |name: &str, ports: &[&str]| {
            let ports = ports.iter().map(|port| format!("link set {port} master {name} up\n"));
            format!(
                "link add {name} type bridge mcast_snooping 0\n{}link set {name} up\n",
                ports.collect::<String>()
            )
        };
        self.gw.ip(&format!(
            "link add port1 type veth peer name eth0 netns in1\n\
             link add port2 type veth peer name eth0 netns in2\n\
             link add wan address {} type veth peer name gw netns seg\n{}\
             link set br0 address {}\nlink set wan up",
            colons(WAN_LINK),
            bridge("br0", &["port1", "port2"]),
            colons(BR0_LINK),
        ))?;
        let out = ["out1", "out2", "r2"];
        let veths =
            out.map(|host| format!("link add {host} type veth peer name eth0 netns {host}\n")).concat();
        self.seg.ip(&format!("{veths}{}", bridge("seg", &["gw", "out1", "out2", "r2"])))?;
        self.r2.ip(&format!(
            "link add far0 address {} type veth peer name eth0 netns far\nlink set far0 up",
            colons(self.far.gateway)
        ))
    }

    fn addresses(&self) -> Result<()> {
        for host in [&self.in1, &self.in2, &self.out1, &self.out2, &self.r2, &self.far] {
            let (link, address) = (colons(host.link), host.address);
            host.ip(&format!(
                "link set eth0 address {link}\naddr add {address}/24 brd + dev eth0\nlink set eth0 up"
            ))?;
        }
        for host in [&self.in1, &self.in2] {
            host.ip(&format!("route add default via {GW_INSIDE}"))?;
        }
        self.out1.ip(&format!("addr add {OUT1_ALIAS}/24 dev eth0"))?;
        for host in [&self.out1, &self.out2] {
            host.ip(&format!("route add 198.51.100.0/24 via {R2}"))?;
        }
        self.r2.ip("addr add 198.51.100.1/24 brd + dev far0\nroute add blackhole default")?;
        self.far.ip("route add 203.0.113.0/24 via 198.51.100.1")?;
        let silent = [
            (SILENT_IN1, &self.in1, "br0"),
            (SILENT_IN2, &self.in2, "br0"),
            (SILENT_OUT1, &self.out1, "wan"),
            (SILENT_OUT2, &self.out2, "wan"),
        ];
        let neighbours = silent.map(|(address, host, device)| {
            format!("neigh add {address} lladdr {} dev {device}\n", colons(host.link))
        });
        self.gw.ip(&format!(
            "addr add {GW_INSIDE}/24 brd + dev br0\naddr add {GW}/24 brd + dev wan\n\
             route add default via {R2}\n{}",
            neighbours.concat()
        ))
    }

    /// The silent addresses 10.0.0.`numbers` behind `host`, besides the ones that have names.
    pub fn silent(&self, host: &Host, numbers: RangeInclusive<u8>) -> Result<Vec<Ipv4Addr>> {
        let addresses: Vec<_> = numbers.map(|number| Ipv4Addr::new(10, 0, 0, number)).collect();
        let link = colons(host.link);
        let line = |address| format!("neigh add {address} lladdr {link} dev br0\n");
        self.gw.ip(&addresses.iter().map(line).collect::<String>())?;
        Ok(addresses)
    }

    /// Which translator [`Bed::translate`] starts.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Starts the translator in the gateway. It works until the bed is dropped; natbpf's daemon lives as long as
    /// what is returned.
    pub fn translate(&self, setup: &Setup) -> Result<Translation<'_>> {
        let translation = Translation::start(&self.gw, INSTANCE, self.kind, setup)?;
        self.start_accelerator()?;
        Ok(translation)
    }

    /// As [`Bed::translate`] with rules as `iptables-save` writes them, which natbpf imports.
    pub fn translate_rules(&self, save: &str) -> Result<Translation<'_>> {
        let translation = Translation::start_rules(&self.gw, INSTANCE, self.kind, save)?;
        self.start_accelerator()?;
        Ok(translation)
    }

    /// Edges are not named: `natbpf accelerate` finds also those that a test has added.
    fn start_accelerator(&self) -> Result<()> {
        if self.accelerate && self.accelerator.get().is_none() {
            let accelerator = self.natbpf_cli()?.start(["accelerate"])?;
            let ready = accelerator.ready_line();
            let found = |edge| ready.split([' ', ',']).any(|word| word == edge);
            ensure!(EDGES.into_iter().all(found), "`natbpf accelerate` does not find {EDGES:?}: {ready}");
            self.accelerator.get_or_init(|| accelerator);
        }
        Ok(())
    }

    /// `natbpf accelerate`, once a test has started the translator.
    pub fn accelerator(&self) -> Option<&Natbpf> {
        self.accelerator.get()
    }

    /// How long it may take until the translator knows of packets that it has not seen, because they were repeated: as
    /// long as a path holds, and until natbpf sees that it has run out.
    pub fn unseen(&self) -> Duration {
        if self.accelerate { Duration::from_secs(13) } else { Duration::ZERO }
    }

    /// Waits until a change of the gateway counts for what repeats its packets, too.
    pub fn followed(&self) {
        if self.accelerate {
            thread::sleep(Duration::from_secs(1));
        }
    }

    /// natbpf's command line in the gateway, for what [`Bed::translate`] does not do.
    pub fn natbpf_cli(&self) -> Result<Cli> {
        Cli::new(&self.gw, INSTANCE)
    }

    /// Listens at the gateway's uplink, where what leaves is seen as it leaves and what comes as it came.
    pub fn uplink(&self) -> Result<Wire> {
        let uplink = Wire::open(&self.gw, "wan", WAN_LINK, self.r2.link)?;
        // What is repeated goes straight to the other end.
        if self.accelerate { uplink.seen_from(&self.seg, "gw") } else { Ok(uplink) }
    }

    /// The external endpoint that `server` sees when `host` sends from `port`.
    pub fn udp_mapping(&self, host: &Host, port: u16, server: &Reflector) -> Result<SocketAddr> {
        server.ask(&host.udp((host.address, port))?, "which endpoint is this?")
    }

    /// Makes every sender compute its checksums itself, so that they are right on every wire, and every receiver
    /// look at them. Otherwise veths leave them to each other and nobody ever looks.
    pub fn checksums_in_software(&self) -> Result<()> {
        let devices: [(&Namespace, &[&str]); 8] = [
            (&self.in1, &["eth0"]),
            (&self.in2, &["eth0"]),
            (&self.gw, &["port1", "port2", "wan"]),
            (&self.seg, &["gw", "out1", "out2", "r2"]),
            (&self.out1, &["eth0"]),
            (&self.out2, &["eth0"]),
            (&self.r2, &["eth0", "far0"]),
            (&self.far, &["eth0"]),
        ];
        for (namespace, devices) in devices {
            for device in devices {
                namespace.cmd("ethtool").args(["-K", device, "tx", "off"]).run()?;
            }
        }
        Ok(())
    }
}

/// The same as an address of the standard library.
pub fn end(address: SocketAddr) -> End {
    match address {
        SocketAddr::V4(address) => (*address.ip(), address.port()),
        SocketAddr::V6(address) => unreachable!("{address}: beds have no IPv6"),
    }
}
