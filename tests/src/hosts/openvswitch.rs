//! A node of a cloud with Open vSwitch: real ovs-vswitchd with the kernel's datapath, as Neutron's Open vSwitch agent
//! with hybrid plugging wires it. Needs a kernel with Open vSwitch; the commands are this machine's.
//!
//! ```text
//!  vm1  eth0 ── tap1 qbr1 qvb1 ── qvo1 ┐ tag 1                │ router: MASQUERADE │
//!  vm2  eth0 ── tap2 qbr2 qvb2 ── qvo2 ┴ br-int ── qr (tag 1) │                    │ qg ── br-ex ── nic ──── outside
//! ```

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::check::{BULK, Check};
use super::host::{Event, Host};
use super::outside::{OUTSIDE, Outside};
use super::streams::Stream;
use super::way::Way;
use crate::ends::http::Server;
use crate::netns::Namespace;
use crate::netns::isolate::{Isolation, isolate};
use crate::process::wait::wait_until;
use crate::process::{Cmd, Process};
use crate::topology::{End, Sources};

const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const VM1: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 5);
const VM2: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 6);
/// The router's address outside.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const HTTP: u16 = 80;

const READY: Duration = Duration::from_secs(30);

/// Where Debian's package has the schema of the database.
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

#[derive(Debug)]
pub struct OpenVswitch {
    vm1: Namespace,
    vm2: Namespace,
    router: Namespace,
    _servers: [Server; 2],
    switch: Switch,
    // In the order of removal.
    outside: Outside,
    network: Namespace,
    _isolation: Isolation,
}

/// The daemons, and the folder with their sockets.
#[derive(Debug)]
struct Switch {
    daemons: [Process; 2],
    folder: TempDir,
}

impl Switch {
    fn start(host: &Namespace) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for Open vSwitch")?;
        let [database, socket] = ["conf.db", "db.sock"].map(|name| folder.path().join(name));
        let at = |program: &str| command(host, program, &folder);
        at("ovsdb-tool").arg("create").arg(&database).arg(SCHEMA).run()?;
        let server = at("ovsdb-server").arg(format!("--remote=punix:{}", socket.display())).arg(&database);
        let server = server.spawn()?;
        wait_until("the database of Open vSwitch", READY, || Ok(socket.exists()))?;
        at("ovs-vsctl").args(["--no-wait", "init"]).run()?;
        let switch = at("ovs-vswitchd").arg(format!("unix:{}", socket.display())).spawn()?;
        at("ovs-vsctl")
            .args(["--timeout=20", "add-br", "br-int", "--", "add-br", "br-ex"])
            .run()
            .with_context(|| {
                format!("Open vSwitch does not start; has this kernel its datapath? {}", switch.stderr_text())
            })?;
        Ok(Self { daemons: [server, switch], folder })
    }

    fn cmd(&self, host: &Namespace, program: &str) -> Cmd {
        command(host, program, &self.folder)
    }
}

fn command(host: &Namespace, program: &str, folder: &TempDir) -> Cmd {
    let cmd = host.cmd(program);
    ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR"].into_iter().fold(cmd, |cmd, name| cmd.env(name, folder.path()))
}

impl OpenVswitch {
    pub fn start() -> Result<Self> {
        let isolation = isolate()?;
        let (network, outside) = Outside::unnumbered("nic")?;
        let [vm1, vm2, router] = ["vm1", "vm2", "router"].map(Namespace::new);
        let (vm1, vm2, router) = (vm1?, vm2?, router?);
        let switch = Switch::start(&network)?;
        for (number, vm, address) in [(1, &vm1, VM1), (2, &vm2, VM2)] {
            network.ip(&format!(
                "link add tap{number} type veth peer name eth0 netns vm{number}\n\
                 link add qvb{number} type veth peer name qvo{number}\nlink add qbr{number} type bridge\n\
                 link set tap{number} master qbr{number} up\nlink set qvb{number} master qbr{number} up\n\
                 link set qvo{number} up\nlink set qbr{number} up"
            ))?;
            vm.ip(&format!(
                "addr add {address}/24 dev eth0\nlink set eth0 up\nroute add default via {ROUTER}"
            ))?;
        }
        let ports = [
            "add-port br-int qvo1 tag=1",
            "add-port br-int qvo2 tag=1",
            "add-port br-int qr tag=1 -- set interface qr type=internal",
            "add-port br-ex qg -- set interface qg type=internal",
            "add-port br-ex nic",
        ];
        for port in ports {
            switch.cmd(&network, "ovs-vsctl").args(port.split(' ')).run()?;
        }
        network.ip("link set qr netns router\nlink set qg netns router")?;
        router.ip(&format!(
            "addr add {ROUTER}/24 dev qr\nlink set qr up\naddr add {GATEWAY}/24 dev qg\nlink set qg up\n\
             route add default via {OUTSIDE}"
        ))?;
        router.sysctl("net.ipv4.ip_forward", "1")?;
        let rule = ["-t", "nat", "-A", "POSTROUTING", "-o", "qg", "-j", "MASQUERADE"];
        router.cmd("iptables").args(rule).run()?;
        let servers = [Server::start(&vm1, (VM1, HTTP))?, Server::start(&vm2, (VM2, HTTP))?];
        Ok(Self { vm1, vm2, router, _servers: servers, switch, outside, network, _isolation: isolation })
    }

    /// Adds or removes an OpenFlow rule of br-int that drops what comes from vm1.
    fn drop_by_flow(&self, begin: bool) -> Result<()> {
        let cmd = self.switch.cmd(&self.network, "ovs-ofctl");
        if begin {
            cmd.args(["add-flow", "br-int", "priority=100,in_port=qvo1,ip,actions=drop"]).run()
        } else {
            cmd.args(["--strict", "del-flows", "br-int", "priority=100,in_port=qvo1,ip"]).run()
        }
    }

    /// A rule of OpenFlow stops a flow that runs, within a second, and lets it go on when it is gone.
    fn flows_count_at_once(&self) -> Result<()> {
        let socket = self.vm1.udp((VM1, 0))?;
        let sink = self.outside.namespace.udp((OUTSIDE, 9999))?;
        sink.set_read_timeout(Some(Duration::from_millis(50)))?;
        let arrives = |what: u8| -> Result<bool> {
            socket.send_to(&[what], (OUTSIDE, 9999))?;
            let mut buffer = [0; 8];
            Ok(sink.recv(&mut buffer).is_ok_and(|length| buffer[..length] == [what]))
        };
        for number in 0..20 {
            ensure!(arrives(number)?, "datagram {number} did not arrive");
        }
        self.drop_by_flow(true)?;
        let began = Instant::now();
        let mut last = Duration::ZERO;
        while began.elapsed() < Duration::from_secs(3) {
            if arrives(100)? {
                last = began.elapsed();
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.drop_by_flow(false)?;
        ensure!(last < Duration::from_millis(1200), "datagrams arrived for {last:?} after the rule");
        wait_until("packets arrive again", Duration::from_secs(3), || arrives(101))
    }
}

impl Host for OpenVswitch {
    fn network(&self) -> &Namespace {
        &self.network
    }

    fn routers(&self) -> Vec<&Namespace> {
        vec![&self.router]
    }

    fn checks(&self) -> Vec<Check<'_>> {
        let page = |address: Ipv4Addr| format!("http://{address}:{HTTP}/bytes/{BULK}");
        vec![
            Check::ping("instance pings its router", &self.vm1, ROUTER),
            Check::ping("instance pings outside", &self.vm1, OUTSIDE),
            Check::download("instance to outside", &self.vm1, Outside::url()),
            Check::download("second instance to outside", &self.vm2, Outside::url()),
            Check::download("instance to its neighbour", &self.vm1, page(VM2)),
            Check::refused("outside does not reach an instance", &self.outside.namespace, page(VM1)),
            Check::new("a rule of OpenFlow counts at once", || self.flows_count_at_once()),
        ]
    }

    fn streams(&self) -> Vec<Stream<'_>> {
        vec![
            Stream::between("instance to outside", &self.vm1, &self.outside.namespace, OUTSIDE),
            Stream::between("instance to its neighbour", &self.vm1, &self.vm2, VM2),
        ]
    }

    fn logs(&self) -> Result<String> {
        Ok(self.switch.daemons.iter().map(Process::stderr_text).collect())
    }

    fn events(&self) -> Vec<Event<'_>> {
        let port = || {
            self.network.ip("link add other type bridge")?;
            self.switch
                .cmd(&self.network, "ovs-vsctl")
                .args(["add-port", "br-int", "other", "tag=7"])
                .run()?;
            self.switch.cmd(&self.network, "ovs-vsctl").args(["del-port", "br-int", "other"]).run()?;
            self.network.ip("link del other")
        };
        let flush = || self.switch.cmd(&self.network, "ovs-dpctl").arg("del-flows").run();
        vec![
            Event { what: "a port is added and removed", happen: Box::new(port) },
            Event { what: "the datapath forgets its flows", happen: Box::new(flush) },
        ]
    }

    fn ways(&self) -> Vec<Way<'_>> {
        vec![Way {
            name: "instance to outside",
            host: &self.network,
            inside: End { namespace: &self.vm1, edge: "tap1", hop: (&self.router, "qr") },
            outside: End { namespace: &self.outside.namespace, edge: "nic", hop: (&self.router, "qg") },
            server: OUTSIDE,
            gateway: GATEWAY,
            sources: Sources::own(VM1),
            routed: true,
        }]
    }
}
