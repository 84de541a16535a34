//! A node of OpenStack Neutron: server, L3, DHCP and Linux bridge agents, a router with SNAT and a floating address,
//! security groups, instances that ask for their addresses.
//!
//! ```text
//!  vm1, vm2  eth0 ── tap… brq… tap… ── qr-… │ router: SNAT │ qg-… ── tap… brq… nic ──── outside 203.0.113.9
//! ```
//!
//! Instances are namespaces at the ends of veth pairs that bear a TAP's name. The router's own address outside is
//! 203.0.113.2; vm2 has the floating one, 203.0.113.50.

mod api;
mod control;
mod floating;
mod group;

use std::fs;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::ban;
use super::check::{BULK, Check};
use super::host::{Event, Host};
use super::outside::{OUTSIDE, Outside};
use super::pod::Pod;
use super::root::root;
use super::streams::Stream;
use super::way::Way;
use crate::ends::http::Server;
use crate::ends::tools;
use crate::netns::Namespace;
use crate::netns::isolate::{Isolation, isolate};
use crate::process::wait::wait_until;
use crate::topology::{End, Sources};
use api::{Api, LIMIT, id, text};
use control::{Control, plug};
use floating::FLOATING;
use group::SSH;

const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const VM1: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 5);
const VM2: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 6);
/// The router's, outside.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// A port of instances that the security group does not let in.
const HTTP: u16 = 80;

/// What the DHCP client of an instance calls.
const LEASE: &str = "#!/bin/sh\ncase $1 in bound | renew) ;; *) exit 0 ;; esac\n\
                     ip addr replace $ip/$mask dev $interface\n[ -z \"$mtu\" ] || ip link set $interface mtu $mtu\n\
                     set -- $staticroutes\nwhile [ $# -ge 2 ]; do ip route replace $1 via $2 dev $interface || \
                     ip route replace $1 dev $interface; shift 2; done\n\
                     for gateway in $router; do ip route replace default via $gateway; done\n";

#[derive(Debug)]
pub struct Neutron {
    instances: [Instance; 2],
    router: Namespace,
    /// The router's devices: toward instances and toward the outside.
    qr: String,
    qg: String,
    network_id: String,
    group: String,
    _servers: Vec<Server>,
    control: Mutex<Control>,
    // In the order of removal.
    pod: Pod,
    outside: Outside,
    network: Namespace,
    _isolation: Isolation,
}

#[derive(Debug)]
struct Instance {
    namespace: Namespace,
    port: String,
    tap: String,
}

impl Neutron {
    pub fn start() -> Result<Self> {
        let isolation = isolate()?;
        let (network, outside) = Outside::unnumbered("nic")?;
        // Where the tunnels of instances' networks go to other nodes.
        network.ip("link add under type veth peer name under netns outside\nlink set under up\n\
             addr add 10.20.0.11/24 dev under")?;
        outside.namespace.ip("link set under up\naddr add 10.20.0.12/24 dev under")?;
        let pod = Pod::start(&network, &root()?, &[])?;
        let api = Api(&pod);
        let control = Control::start(&pod, &api).context("the control plane")?;

        let external = api.create(
            "network",
            json!({ "name": "ext", "router:external": true, "provider:network_type": "flat",
                    "provider:physical_network": "ext" }),
        )?;
        let pools = json!([{ "start": "203.0.113.2", "end": "203.0.113.8" },
                           { "start": "203.0.113.50", "end": "203.0.113.99" }]);
        let external_subnet = api.create(
            "subnet",
            json!({ "name": "extsub", "network_id": id(&external)?, "ip_version": 4, "cidr": "203.0.113.0/24",
                    "gateway_ip": OUTSIDE, "enable_dhcp": false, "allocation_pools": pools }),
        )?;
        let tenant = api.create("network", json!({ "name": "tenant" }))?;
        let network_id = id(&tenant)?;
        let subnet = api.create(
            "subnet",
            json!({ "name": "tenantsub", "network_id": network_id, "ip_version": 4, "cidr": "192.168.1.0/24",
                    "dns_nameservers": [OUTSIDE] }),
        )?;
        let router = id(&api.create("router", json!({ "name": "r1" }))?)?;
        let fixed = json!([{ "subnet_id": id(&external_subnet)?, "ip_address": GATEWAY }]);
        let gateway =
            json!({ "network_id": id(&external)?, "enable_snat": true, "external_fixed_ips": fixed });
        api.put(&format!("routers/{router}"), &json!({ "router": { "external_gateway_info": gateway } }))?;
        let inner = api
            .put(&format!("routers/{router}/add_router_interface"), &json!({ "subnet_id": id(&subnet)? }))?;
        let group = group::make(&api)?;
        let default = id(&api.get("security-groups?name=default")?["security_groups"][0])?;
        let boot =
            |name, address| Instance::boot(&pod, &network, &network_id, name, address, [&default, &group]);
        let instances = [boot("vm1", VM1)?, boot("vm2", VM2)?];
        floating::make(&api, &id(&external)?, &instances[1].port)?;
        let query = format!("ports?device_id={router}&device_owner=network:router_gateway");
        let qg = device("qg-", &id(&api.get(&query)?["ports"][0])?);
        let qr = device("qr-", &text(&inner, "port_id")?);
        for instance in &instances {
            instance.wait_for_address(&pod, &api)?;
        }
        let router = pod.namespace(&format!("qrouter-{router}"))?;
        wait_until("the floating address answers", LIMIT, || {
            Ok(tools::ping(&outside.namespace, FLOATING, "-c 1")?.received == 1)
        })?;
        let serve = |instance: &Instance, port| Server::start(&instance.namespace, ("0.0.0.0", port));
        let servers = instances.iter().flat_map(|instance| [serve(instance, SSH), serve(instance, HTTP)]);
        Ok(Self {
            _servers: servers.collect::<Result<_>>()?,
            instances,
            router,
            qr,
            qg,
            network_id,
            group,
            control: Mutex::new(control),
            pod,
            outside,
            network,
            _isolation: isolation,
        })
    }

    fn to_floating(&self) -> Stream<'_> {
        let [outside, vm2] = [&self.outside.namespace, &self.instances[1].namespace];
        Stream::between("outside to floating address", outside, vm2, FLOATING)
    }

    fn api(&self) -> Api<'_> {
        Api(&self.pod)
    }

    fn make_and_remove_a_network(&self) -> Result<()> {
        let api = self.api();
        let network = id(&api.create("network", json!({ "name": "other" }))?)?;
        let subnet = json!({ "network_id": network, "ip_version": 4, "cidr": "192.168.9.0/24" });
        api.create("subnet", subnet)?;
        let namespace = self.pod.path(&format!("/run/netns/qdhcp-{network}"));
        wait_until("the network has its DHCP server", LIMIT, || Ok(namespace.exists()))?;
        api.delete(&format!("networks/{network}"))
    }

    fn begin_and_end_an_instance(&self) -> Result<()> {
        let address = Ipv4Addr::new(192, 168, 1, 77);
        let groups = [&*self.group; 1];
        let third = Instance::boot(&self.pod, &self.network, &self.network_id, "vm3", address, groups)?;
        third.wait_for_address(&self.pod, &self.api())?;
        self.network.ip(&format!("link del {}", third.tap))?;
        self.api().delete(&format!("ports/{}", third.port))
    }
}

/// The name of a port's device.
fn device(prefix: &str, port: &str) -> String {
    format!("{prefix}{}", &port[..11])
}

impl Instance {
    /// What Nova does for one: a port, its bridge, its device.
    fn boot<const GROUPS: usize>(
        pod: &Pod,
        host: &Namespace,
        network: &str,
        name: &str,
        address: Ipv4Addr,
        groups: [&str; GROUPS],
    ) -> Result<Self> {
        let api = Api(pod);
        let port = api.create(
            "port",
            json!({ "name": name, "network_id": network, "device_owner": "compute:nova", "device_id": name,
                    "binding:host_id": "host", "fixed_ips": [{ "ip_address": address }],
                    "security_groups": groups.as_slice() }),
        )?;
        let (port, mac) = (id(&port)?, text(&port, "mac_address")?);
        let about = api.get(&format!("networks/{network}"))?;
        let mtu = about["network"]["mtu"].to_string();
        let (tap, bridge) = (device("tap", &port), device("brq", network));
        plug(pod, [&bridge, &port, &mac, network, &mtu])?;
        let namespace = Namespace::new(name)?;
        host.ip(&format!("link add {tap} mtu {mtu} type veth peer name eth0 netns {name}"))?;
        namespace.ip(&format!("link set eth0 address {mac} mtu {mtu}"))?;
        host.ip(&format!("link set {tap} master {bridge} up"))?;
        namespace.ip("link set eth0 up")?;
        Ok(Self { namespace, port, tap })
    }

    /// Until the agents have done their part and it has its address.
    fn wait_for_address(&self, pod: &Pod, api: &Api<'_>) -> Result<()> {
        wait_until(&format!("the port of {} is active", self.namespace.name()), LIMIT, || {
            Ok(api.get(&format!("ports/{}", self.port))?["port"]["status"] == "ACTIVE")
        })
        .with_context(|| {
            let log = pod.read("/var/log/neutron/neutron-linuxbridge-agent.log").unwrap_or_default();
            log.lines().rev().take(3).collect::<Vec<_>>().join("; ")
        })?;
        self.lease(pod)
    }

    fn lease(&self, pod: &Pod) -> Result<()> {
        pod.write("/tmp/lease.sh", LEASE)?;
        pod.sh("chmod +x /tmp/lease.sh").run()?;
        let options = ["udhcpc", "-i", "eth0", "-s", "/tmp/lease.sh", "-n", "-q", "-t", "10", "-T", "1"];
        pod.cmd_in(&self.namespace, "busybox").args(options).run().context("no lease")
    }
}

impl Host for Neutron {
    fn pod(&self) -> Option<&Pod> {
        Some(&self.pod)
    }

    fn network(&self) -> &Namespace {
        &self.network
    }

    fn routers(&self) -> Vec<&Namespace> {
        vec![&self.router]
    }

    fn checks(&self) -> Vec<Check<'_>> {
        let [first, second] = &self.instances;
        let (vm1, vm2, outside) = (&first.namespace, &second.namespace, &self.outside.namespace);
        let page = |address: Ipv4Addr, port: u16| format!("http://{address}:{port}/bytes/{BULK}");
        vec![
            Check::ping("instance pings its router", vm1, ROUTER),
            Check::ping("instance pings outside", vm1, OUTSIDE),
            Check::ping("instance with a floating address pings outside", vm2, OUTSIDE),
            Check::download("instance to outside", vm1, Outside::url()),
            Check::download("instance with a floating address to outside", vm2, Outside::url()),
            Check::ping("outside pings the floating address", outside, FLOATING),
            Check::download("outside to the floating address", outside, page(FLOATING, SSH)),
            Check::refused(
                "outside does not reach a port that the group lets not in",
                outside,
                page(FLOATING, HTTP),
            ),
            Check::download("instance to its neighbour", vm1, page(VM2, HTTP)),
            Check::download("instance to its neighbour's floating address", vm1, page(FLOATING, SSH)),
            Check::new("instance renews its lease", || first.lease(&self.pod)),
            Check::new("instance is answered by the metadata proxy", || {
                let ask = ["-q", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}"];
                let status = vm1.cmd("curl").args(ask).arg("http://169.254.169.254/").output_text()?;
                // Behind it is nobody here, and it says so.
                ensure!(status.starts_with('4') || status.starts_with('5'), "status {status}");
                Ok(())
            }),
            Check::new("instance cannot take another's address", || {
                let forged = Ipv4Addr::new(192, 168, 1, 77);
                vm1.ip(&format!("addr add {forged}/32 dev eth0"))?;
                let ping = tools::ping(vm1, OUTSIDE, &format!("-c 2 -I {forged}"));
                vm1.ip(&format!("addr del {forged}/32 dev eth0"))?;
                ensure!(ping?.received == 0, "it was answered");
                Ok(())
            }),
        ]
    }

    fn streams(&self) -> Vec<Stream<'_>> {
        let [vm1, vm2] = [&self.instances[0].namespace, &self.instances[1].namespace];
        let outside = &self.outside.namespace;
        vec![
            Stream::between("instance to outside", vm1, outside, OUTSIDE),
            self.to_floating(),
            Stream::between("instance to its neighbour", vm1, vm2, VM2),
        ]
    }

    fn logs(&self) -> Result<String> {
        let folder = self.pod.path("/var/log/neutron");
        let mut files: Vec<_> =
            fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.sort();
        files.iter().map(|file| Ok(String::from_utf8_lossy(&fs::read(file)?).into_owned())).collect()
    }

    fn events(&self) -> Vec<Event<'_>> {
        let restart = || {
            let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
            control.restart_agents(&self.pod, &self.api())
        };
        let closed = move || {
            ban::is_obeyed(
                self,
                &self.to_floating(),
                || group::close(&self.pod, &self.group),
                || group::open(&self.pod, &self.group),
            )
        };
        let parted = move || {
            ban::is_obeyed(
                self,
                &self.to_floating(),
                || floating::part(&self.pod, &self.router),
                || floating::join(&self.pod, &self.instances[1].port),
            )
        };
        vec![
            Event { what: "a rule taken from the security group stops what runs", happen: Box::new(closed) },
            Event { what: "a floating address taken away stops what runs", happen: Box::new(parted) },
            // Before a restart: ebtables of this Debian cannot remove what the agent then wants to have removed.
            Event {
                what: "an instance begins and ends",
                happen: Box::new(|| self.begin_and_end_an_instance()),
            },
            Event { what: "the agents are restarted", happen: Box::new(restart) },
            Event {
                what: "a network is made and removed",
                happen: Box::new(|| self.make_and_remove_a_network()),
            },
            Event {
                what: "the security group changes",
                happen: Box::new(|| group::change(&self.pod, &self.group)),
            },
        ]
    }

    fn ways(&self) -> Vec<Way<'_>> {
        let way = |name, place: usize, address, gateway| {
            let instance = &self.instances[place];
            Way {
                name,
                host: &self.network,
                inside: End {
                    namespace: &instance.namespace,
                    edge: &instance.tap,
                    hop: (&self.router, &self.qr),
                },
                outside: End {
                    namespace: &self.outside.namespace,
                    edge: "nic",
                    hop: (&self.router, &self.qg),
                },
                server: OUTSIDE,
                gateway,
                sources: Sources::own(address),
                routed: true,
            }
        };
        vec![
            way("instance to outside", 0, VM1, GATEWAY),
            way("instance with a floating address to outside", 1, VM2, FLOATING),
        ]
    }
}
