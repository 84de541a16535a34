//! libvirt: its daemon with the network "default" (rules, dnsmasq), and guests that QEMU emulates.
//!
//! ```text
//!  guest 1  eth0 ── vnet0 ┐
//!  guest 2  eth0 ── vnet1 virbr0 192.168.122.1 ── host  eth0 203.0.113.1 ──── outside 203.0.113.9
//!  station  eth0 ── vgen ─┘
//! ```
//!
//! The second guest is behind libvirt's filter `clean-traffic`. The station is no guest but a namespace, for packets at
//! the speed of the kernel.

use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::ban;
use super::check::{BULK, Check};
use super::guest::{COMMAND_LINE, FOLDER, Guest, MEMORY};
use super::host::{Event, Host};
use super::outside::{HOST, OUTSIDE, Outside};
use super::pod::Pod;
use super::root::{guest_files, root};
use super::streams::{Client, IPERF, Stream};
use super::way::Way;
use crate::netns::Namespace;
use crate::netns::isolate::{Isolation, isolate};
use crate::process::Process;
use crate::process::wait::wait_until;
use crate::topology::{End, Sources};

const READY: Duration = Duration::from_secs(30);

const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 122, 1);
const STATION: Ipv4Addr = Ipv4Addr::new(192, 168, 122, 250);

/// Nothing of QEMU's confinement: the pod is one.
const QEMU: &str = "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\ndynamic_ownership = 0\n\
                    remember_owner = 0\nnamespaces = []\ncgroup_controllers = []\nseccomp_sandbox = 0\n\
                    stdio_handler = \"file\"\n";

/// A host of guests.
#[derive(Debug)]
pub struct Libvirt {
    guests: [Guest; 2],
    station: Namespace,
    daemon: Mutex<Option<Process>>,
    /// What daemons wrote that have ended.
    written: Mutex<String>,
    // In the order of removal.
    pod: Pod,
    outside: Outside,
    network: Namespace,
    _isolation: Isolation,
}

impl Libvirt {
    pub fn start() -> Result<Self> {
        let isolation = isolate()?;
        let (network, outside) = Outside::new()?;
        let guest_files = guest_files()?;
        let pod = Pod::start(&network, &root()?, &[(&guest_files, FOLDER)])?;
        pod.write("/etc/libvirt/qemu.conf", QEMU)?;
        pod.sh("mkdir -p /run/libvirt; virtlogd -d").run()?;
        let daemon = Mutex::new(Some(daemon(&pod)?));
        let virsh = |args: &[&str]| pod.program("virsh").arg("-q").args(args).output_text();
        if virsh(&["net-info", "default"]).is_err() {
            virsh(&["net-define", "/usr/share/libvirt/networks/default.xml"])?;
        }
        virsh(&["net-start", "default"])?;
        for (name, mac, filter) in [
            ("g1", "52:54:00:00:00:01", ""),
            ("g2", "52:54:00:00:00:02", "<filterref filter='clean-traffic'/>"),
        ] {
            let file = format!("/tmp/{name}.xml");
            pod.write(&file, domain(name, mac, filter))?;
            virsh(&["create", &file])?;
        }
        let station = station(&network)?;
        let guests = ["g1", "g2"].map(|name| Guest::booted(&pod, name));
        let [first, second] = guests;
        let guests = [first?, second?];
        let written = Mutex::default();
        Ok(Self { guests, station, daemon, written, pod, outside, network, _isolation: isolation })
    }

    fn virsh(&self, args: &[&str]) -> Result<()> {
        self.pod.program("virsh").arg("-q").args(args).run()
    }

    fn restart(&self) -> Result<()> {
        let mut running = self.daemon.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = running.take().context("libvirtd does not run")?.stop(Signal::SIGTERM, READY)?;
        self.written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_str(&String::from_utf8_lossy(&ended.stderr));
        *running = Some(daemon(&self.pod)?);
        Ok(())
    }

    /// Forbids what the station sends outside (`-I`), or allows it again (`-D`).
    fn forbid(&self, how: &str) -> Result<()> {
        let rule = ["-s", &STATION.to_string(), "-p", "udp", "-j", "DROP"];
        self.pod.program("iptables").args([how, "FORWARD"]).args(rule).run()
    }

    fn make_and_remove_a_network(&self) -> Result<()> {
        self.pod.write(
            "/tmp/other.xml",
            "<network><name>other</name><forward mode='nat'/><bridge name='virbr9'/>\
             <ip address='192.168.99.1' netmask='255.255.255.0'/></network>",
        )?;
        self.virsh(&["net-create", "/tmp/other.xml"])?;
        self.virsh(&["net-destroy", "other"])
    }

    fn begin_and_end_a_guest(&self) -> Result<()> {
        self.pod.write("/tmp/g3.xml", domain("g3", "52:54:00:00:00:03", ""))?;
        self.virsh(&["create", "/tmp/g3.xml"])?;
        self.virsh(&["destroy", "g3"])
    }
}

fn daemon(pod: &Pod) -> Result<Process> {
    let daemon = pod.program("libvirtd").spawn()?;
    wait_until("an answer of libvirtd", READY, || {
        Ok(pod.program("virsh").args(["-q", "uri"]).output()?.status.success())
    })
    .with_context(|| daemon.stderr_text())?;
    Ok(daemon)
}

/// A guest with a card on the default network, its console in a file and a shell on a socket.
fn domain(name: &str, mac: &str, filter: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>{MEMORY}</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type><kernel>{FOLDER}/vmlinuz</kernel>\
         <initrd>{FOLDER}/initramfs</initrd><cmdline>{COMMAND_LINE}</cmdline></os>\
         <features><acpi/></features><cpu mode='maximum'/>\
         <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>\
         <interface type='network'><mac address='{mac}'/><source network='default'/><model type='virtio'/>{filter}\
         </interface>\
         <serial type='file'><source path='/tmp/{name}.log'/><target port='0'/></serial>\
         <serial type='unix'><source mode='bind' path='/tmp/{name}.sock'/><target port='1'/></serial>\
         <memballoon model='none'/></devices></domain>"
    )
}

/// A port of the bridge beside the guests'.
fn station(host: &Namespace) -> Result<Namespace> {
    let station = Namespace::new("station")?;
    host.ip("link add vgen type veth peer name eth0 netns station\nlink set vgen master virbr0 up")?;
    station
        .ip(&format!("addr add {STATION}/24 dev eth0\nlink set eth0 up\nroute add default via {ROUTER}"))?;
    Ok(station)
}

impl Host for Libvirt {
    fn pod(&self) -> Option<&Pod> {
        Some(&self.pod)
    }

    fn network(&self) -> &Namespace {
        &self.network
    }

    fn checks(&self) -> Vec<Check<'_>> {
        let [first, second] = &self.guests;
        let download = |from: &str| format!("wget -q -O - {from} | cmp - /www/{BULK}");
        let page = |guest: &Guest| format!("http://{}/{}", guest.address, BULK);
        let ping = format!("ping -c 3 -W 2 {OUTSIDE}");
        vec![
            first.check("guest pings outside", ping.clone()),
            second.check("guest behind a filter pings outside", ping),
            first.check("guest to outside", download(&Outside::url())),
            second.check("guest behind a filter to outside", download(&Outside::url())),
            first.check("guest renews its lease", "udhcpc -i eth0 -n -q -t 5 -T 2 -s /udhcpc.sh".to_owned()),
            first.check("guest looks up a name", format!("nslookup guest-02 {ROUTER}")),
            first.check("guest to guest", download(&page(second))),
            Check::download("host to guest", &self.network, page(first)),
            Check::download("station of the network to guest", &self.station, page(first)),
            Check::ping("station of the network pings outside", &self.station, OUTSIDE),
            Check::download("station of the network to outside", &self.station, Outside::url()),
            Check::refused("outside does not reach a guest", &self.outside.namespace, page(first)),
            Check::new("guest behind a filter cannot take another's address", || {
                let forged = format!(
                    "ip addr add 192.168.122.77/32 dev eth0; ping -c 2 -W 1 -I 192.168.122.77 {OUTSIDE}; ended=$?; \
                     ip addr del 192.168.122.77/32 dev eth0; test $ended != 0"
                );
                second.sh(&forged, Duration::from_mins(1)).map(drop)
            }),
            Check::new("a rule before libvirt's stops what runs", || {
                ban::is_obeyed(self, &self.streams()[1], || self.forbid("-I"), || self.forbid("-D"))
            }),
        ]
    }

    fn streams(&self) -> Vec<Stream<'_>> {
        let [first, _] = &self.guests;
        let shell = |command: &str| first.sh(command, Duration::from_mins(2));
        vec![
            Stream {
                name: "guest to outside",
                client: Client::Shell(Box::new(shell)),
                server: &self.outside.namespace,
                address: OUTSIDE,
                port: IPERF,
            },
            Stream::between(
                "station of the network to outside",
                &self.station,
                &self.outside.namespace,
                OUTSIDE,
            ),
        ]
    }

    fn logs(&self) -> Result<String> {
        let daemon = self.daemon.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(written + &daemon.as_ref().map(Process::stderr_text).unwrap_or_default())
    }

    fn events(&self) -> Vec<Event<'_>> {
        vec![
            Event { what: "libvirtd is restarted", happen: Box::new(|| self.restart()) },
            Event {
                what: "a network is made and removed",
                happen: Box::new(|| self.make_and_remove_a_network()),
            },
            Event { what: "a guest begins and ends", happen: Box::new(|| self.begin_and_end_a_guest()) },
        ]
    }

    fn ways(&self) -> Vec<Way<'_>> {
        vec![Way {
            name: "station of the network to outside",
            host: &self.network,
            inside: End { namespace: &self.station, edge: "vgen", hop: (&self.network, "virbr0") },
            outside: End { namespace: &self.outside.namespace, edge: "eth0", hop: (&self.network, "eth0") },
            server: OUTSIDE,
            gateway: HOST,
            sources: Sources::own(STATION),
            routed: true,
        }]
    }
}
