//! Engines of containers: Docker with its daemon, podman without one.
//!
//! ```text
//!  web, cli  eth0 ── veth ── br-… (the network "app") ┐
//!                                                    host  eth0 203.0.113.1 ──── outside 203.0.113.9
//!  old       eth0 ── veth ── docker0 or podman0 ──────┘
//! ```
//!
//! `web` has HTTP (published: 8080), UDP echo (7007) and iperf3's port, `old` HTTP (8081).

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::ban;
use super::check::{BULK, Check};
use super::host::{Event, Host};
use super::outside::{HOST, OUTSIDE, Outside};
use super::pod::Pod;
use super::root::root;
use super::streams::{IPERF, Stream};
use super::way::Way;
use crate::ends::pattern::Source;
use crate::ends::reflector::Reflector;
use crate::ends::tools;
use crate::netns::Namespace;
use crate::netns::isolate::{Isolation, isolate};
use crate::netns::link::{far_end, link_address};
use crate::process::wait::wait_until;
use crate::process::{Cmd, Process};
use crate::topology::{End, Sources};

const READY: Duration = Duration::from_mins(1);
/// Until one that was heard of a moment ago is asked for anew: at most 45 seconds it is taken to be reachable, and for
/// some more it is asked in vain.
const NEIGHBOURS: Duration = Duration::from_mins(1);

/// Ports outside, and what they lead to.
const WEB: u16 = 8080;
const OLD: u16 = 8081;
const ECHO: (u16, u16) = (7007, 7);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Docker,
    Podman,
}

impl Engine {
    fn cmd(self, pod: &Pod) -> Cmd {
        match self {
            Self::Docker => pod.program("docker"),
            Self::Podman => pod.program("podman").arg("--cgroup-manager=cgroupfs"),
        }
    }

    /// The bridge of containers that name no network.
    const fn default_bridge(self) -> &'static str {
        match self {
            Self::Docker => "docker0",
            Self::Podman => "podman0",
        }
    }

    /// Starts its daemons, if it has any.
    fn start(self, pod: &Pod) -> Result<Vec<Process>> {
        match self {
            Self::Docker => {
                let containerd = pod.program("containerd").spawn()?;
                wait_until("containerd's socket", READY, || {
                    Ok(pod.path("/run/containerd/containerd.sock").exists())
                })?;
                Ok(vec![containerd, Self::daemon(pod)?])
            }
            Self::Podman => {
                pod.sh("mkdir -p /etc/containers").run()?;
                pod.write(
                    "/etc/containers/containers.conf",
                    "[network]\nnetwork_backend = \"netavark\"\n[engine]\nevents_logger = \"file\"\n\
                     [containers]\nlog_driver = \"k8s-file\"\n",
                )?;
                Ok(Vec::new())
            }
        }
    }

    /// Docker's own, whose containers outlive a restart.
    fn daemon(pod: &Pod) -> Result<Process> {
        let daemon = pod
            .program("dockerd")
            .args(["--containerd", "/run/containerd/containerd.sock", "--storage-driver", "overlay2"])
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--live-restore"])
            .spawn()?;
        wait_until("an answer of dockerd", READY, || {
            Ok(pod.program("docker").arg("version").output()?.status.success())
        })
        .with_context(|| daemon.stderr_text())?;
        Ok(daemon)
    }
}

/// A host of containers.
#[derive(Debug)]
pub struct Containers {
    engine: Engine,
    web: Container,
    cli: Container,
    old: Container,
    bridge: String,
    daemons: Mutex<Vec<Process>>,
    /// What daemons wrote that have ended.
    written: Mutex<String>,
    _echo: Reflector,
    // In the order of removal.
    pod: Pod,
    outside: Outside,
    network: Namespace,
    _isolation: Isolation,
}

#[derive(Debug)]
struct Container {
    namespace: Namespace,
    address: Ipv4Addr,
    /// The host's end of its veth pair.
    edge: String,
}

impl Containers {
    pub fn start(engine: Engine) -> Result<Self> {
        let isolation = isolate()?;
        let (network, outside) = Outside::new()?;
        let pod = Pod::start(&network, &root()?, &[])?;
        let daemons = engine.start(&pod)?;
        image(engine, &pod)?;
        let run = |name: &str, options: &str, command: &str| -> Result<Container> {
            let cmd = engine.cmd(&pod).args(["run", "-d", "--name", name]).args(options.split_whitespace());
            cmd.args(["natbpf-test:1", "/bin/sh", "-c", command]).run()?;
            container(engine, &pod, &network, name)
        };
        engine.cmd(&pod).args(["network", "create", "app"]).run()?;
        let published =
            format!("-p {WEB}:80 -p {}:{}/udp -p {IPERF}:{IPERF} -p {IPERF}:{IPERF}/udp", ECHO.0, ECHO.1);
        let web = run("web", &format!("--network app {published}"), "exec httpd -f -p 80 -h /www")?;
        let echo = Reflector::start(&web.namespace, (web.address, ECHO.1))?;
        let cli = run("cli", "--network app", "exec sleep 1000000")?;
        let old = run("old", &format!("-p {OLD}:80"), "exec httpd -f -p 80 -h /www")?;
        let bridge = master_of(&network, &web.edge)?;
        let daemons = Mutex::new(daemons);
        Ok(Self {
            engine,
            web,
            cli,
            old,
            bridge,
            daemons,
            written: Mutex::default(),
            _echo: echo,
            pod,
            outside,
            network,
            _isolation: isolation,
        })
    }

    fn engine(&self) -> Cmd {
        self.engine.cmd(&self.pod)
    }

    /// A transfer in a container by its own program, for which names are names.
    fn download_by_name(&self) -> Result<()> {
        let sum = |text: String| text.split_whitespace().next().map(str::to_owned);
        let fetch = format!("wget -q -O - http://web/{BLOB} | sha256sum");
        let got = self.engine().args(["exec", "cli", "sh", "-c", &fetch]).output_text()?;
        let have = self.pod.sh(&format!("sha256sum {IMAGE}/www/{BLOB}")).output_text()?;
        ensure!(sum(got.clone()) == sum(have.clone()), "the sums differ: {got} {have}");
        Ok(())
    }

    /// What a restart of the service does.
    fn restart(&self) -> Result<()> {
        if self.engine == Engine::Podman {
            return self.engine().args(["network", "reload", "--all"]).run();
        }
        let mut daemons = self.daemons.lock().unwrap_or_else(PoisonError::into_inner);
        let daemon = daemons.pop().context("dockerd does not run")?;
        let written = daemon.stop(Signal::SIGTERM, READY)?.stderr;
        self.written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_str(&String::from_utf8_lossy(&written));
        daemons.push(Engine::daemon(&self.pod)?);
        Ok(())
    }

    /// A container is there for a moment.
    fn begin_and_end(&self) -> Result<()> {
        let mac = || link_address(&self.network, &self.bridge);
        let before = mac()?;
        self.engine()
            .args(["run", "-d", "--name", "brief", "--network", "app", "-p", "8099:80"])
            .args(["natbpf-test:1", "/bin/httpd", "-f", "-p", "80"])
            .run()?;
        let between = mac()?;
        self.engine().args(["rm", "-f", "brief"]).run()?;
        if before == between {
            return Ok(());
        }
        // podman gives a bridge no MAC address, so it has the lowest of its ports', and other containers have to find
        // out that their gateway's has changed, and changed back. As long as packets come from outside, the host's
        // own questions for them tell them; but this may have taken longer than the stream.
        wait_until("the containers have heard of the bridge's MAC address", NEIGHBOURS, || {
            Ok(tools::ping(&self.cli.namespace, OUTSIDE, "-c 1")?.received == 1)
        })
    }

    /// Forbids what the first stream sends, as an operator would, or allows it again.
    fn forbid(&self, begin: bool) -> Result<()> {
        let chain = match self.engine {
            Engine::Docker => "DOCKER-USER",
            Engine::Podman => "FORWARD",
        };
        let port = IPERF.to_string();
        let rule = ["-p", "udp", "-d", &OUTSIDE.to_string(), "--dport", &port, "-j", "DROP"];
        let iptables = self.pod.program("iptables").args([if begin { "-I" } else { "-D" }, chain]);
        iptables.args(rule).run()
    }
}

const IMAGE: &str = "/tmp/image";
const BLOB: &str = "blob";

/// An image of busybox, with something to download.
fn image(engine: Engine, pod: &Pod) -> Result<()> {
    pod.sh(&format!(
        "mkdir -p {IMAGE}/bin {IMAGE}/etc {IMAGE}/tmp {IMAGE}/www\n\
         cp /bin/busybox {IMAGE}/bin/busybox\n\
         for name in $(busybox --list | grep -vx busybox); do ln -sf busybox {IMAGE}/bin/$name; done\n\
         echo root:x:0:0:root:/:/bin/sh > {IMAGE}/etc/passwd"
    ))
    .run()?;
    let mut blob = File::create(pod.path(&format!("{IMAGE}/www/{BLOB}")))?;
    io::copy(&mut Source::new(BULK), &mut blob)?;
    pod.sh(&format!("tar -C {IMAGE} -cf /tmp/image.tar .")).run()?;
    engine.cmd(pod).args(["import", "/tmp/image.tar", "natbpf-test:1"]).run()
}

fn container(engine: Engine, pod: &Pod, host: &Namespace, name: &str) -> Result<Container> {
    let inspect = |format: &str| engine.cmd(pod).args(["inspect", "-f", format, name]).output_text();
    let pid = inspect("{{.State.Pid}}")?;
    let pid = pid.trim().parse().with_context(|| format!("the process of {name}: {pid:?}"))?;
    let namespace = pod.namespace_of(name, pid)?;
    let address = inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")?;
    let address = address.trim().parse().with_context(|| format!("the address of {name}: {address:?}"))?;
    let edge = far_end(&namespace, "eth0", host)?;
    Ok(Container { namespace, address, edge })
}

/// The bridge that a device is a port of.
fn master_of(host: &Namespace, device: &str) -> Result<String> {
    let text = host.cmd("ip").args(["-j", "link", "show", "dev", device]).output_text()?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    Ok(links[0]["master"].as_str().with_context(|| format!("{device} is in no bridge"))?.to_owned())
}

impl Host for Containers {
    fn pod(&self) -> Option<&Pod> {
        Some(&self.pod)
    }

    fn network(&self) -> &Namespace {
        &self.network
    }

    fn checks(&self) -> Vec<Check<'_>> {
        let (web, cli, old) = (&self.web.namespace, &self.cli.namespace, &self.old.namespace);
        let (outside, host) = (&self.outside.namespace, &self.network);
        let published = |port: u16| format!("http://{HOST}:{port}/{BLOB}");
        let default = self.engine.default_bridge();
        vec![
            Check::ping("container pings outside", cli, OUTSIDE),
            Check::download("container to outside", cli, Outside::url()),
            Check::download(&format!("container of {default} to outside"), old, Outside::url()),
            Check::download("outside to published port", outside, published(WEB)),
            Check::download(&format!("outside to published port of {default}"), outside, published(OLD)),
            Check::echo("outside to published port by UDP", outside, (HOST, ECHO.0)),
            Check::new("container to container, by name", || self.download_by_name()),
            Check::download("container to its host's published port", cli, published(WEB)),
            // Debian 12's netavark does not turn such a packet round.
            Check::download("container to its own published port", web, published(WEB))
                .may_fail(self.engine == Engine::Podman),
            Check::download(&format!("container of {default} to published port"), old, published(WEB)),
            Check::download("host to 127.0.0.1, published", host, format!("http://127.0.0.1:{WEB}/{BLOB}")),
            Check::download("host to its own address, published", host, published(WEB)),
            Check::refused(
                "outside does not reach a container that is not published",
                outside,
                format!("http://{}/{BLOB}", self.web.address),
            ),
            Check::refused(
                &format!("container of {default} does not reach another network"),
                old,
                format!("http://{}/{BLOB}", self.web.address),
            ),
            Check::new("a rule before the engine's stops what runs", || {
                ban::is_obeyed(self, &self.streams()[0], || self.forbid(true), || self.forbid(false))
            }),
        ]
    }

    fn streams(&self) -> Vec<Stream<'_>> {
        let (web, cli, outside) = (&self.web.namespace, &self.cli.namespace, &self.outside.namespace);
        vec![
            Stream::between("container to outside", cli, outside, OUTSIDE),
            Stream::between("outside to published port", outside, web, HOST),
            Stream::between("container to container", cli, web, self.web.address),
        ]
    }

    fn logs(&self) -> Result<String> {
        let daemons = self.daemons.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(daemons.iter().fold(written, |written, daemon| written + &daemon.stderr_text()))
    }

    fn events(&self) -> Vec<Event<'_>> {
        let restart = match self.engine {
            Engine::Docker => "dockerd is restarted",
            Engine::Podman => "networks are reloaded",
        };
        let network = || {
            self.engine().args(["network", "create", "other"]).run()?;
            self.engine().args(["network", "rm", "other"]).run()
        };
        vec![
            Event { what: restart, happen: Box::new(|| self.restart()) },
            Event { what: "a network is made and removed", happen: Box::new(network) },
            Event { what: "a container begins and ends", happen: Box::new(|| self.begin_and_end()) },
        ]
    }

    fn ways(&self) -> Vec<Way<'_>> {
        let (web, web_edge) = (&self.web.namespace, &*self.web.edge);
        let (cli, cli_edge) = (&self.cli.namespace, &*self.cli.edge);
        let hop = (&self.network, &*self.bridge);
        let outside = End { namespace: &self.outside.namespace, edge: "eth0", hop: (&self.network, "eth0") };
        let out = Way {
            name: "container to outside",
            host: &self.network,
            inside: End { namespace: cli, edge: cli_edge, hop },
            outside,
            server: OUTSIDE,
            gateway: HOST,
            sources: Sources::own(self.cli.address),
            routed: true,
        };
        let published = Way {
            name: "outside to published port",
            inside: End { namespace: web, edge: web_edge, hop },
            sources: Sources { published: Some(ECHO), ..Sources::own(self.web.address) },
            ..out
        };
        let pair = Way {
            name: "container to container",
            inside: End { namespace: cli, edge: cli_edge, hop: (web, "eth0") },
            outside: End { namespace: web, edge: web_edge, hop: (cli, "eth0") },
            server: self.web.address,
            gateway: Ipv4Addr::UNSPECIFIED,
            routed: false,
            ..out
        };
        vec![out, published, pair]
    }
}
