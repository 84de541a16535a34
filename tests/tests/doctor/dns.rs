//! Instances that resolve no names.

use std::fs;
use std::io::{self, PipeWriter};
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use anyhow::{Result, ensure};
use lab::ends::dns;
use lab::process::Process;
use lab::{Lab, SERVER, VM1};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::examination::{Examination, healthy};

const ROUTER: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 0, 0, 1);

/// A program of an instance with a /etc of its own, as a container has.
struct Container {
    program: Process,
    _stdin: PipeWriter,
    _etc: tempfile::TempDir,
}

impl Container {
    fn start(lab: &Lab, resolv_conf: &str) -> Result<Self> {
        let etc = tempfile::tempdir()?;
        fs::write(etc.path().join("resolv.conf"), resolv_conf)?;
        let (reader, writer) = io::pipe()?;
        let mut program = lab.vm1.cmd("sh").args(["-c", "read line"]).stdin(Stdio::from(reader));
        let folder = etc.path().to_owned();
        let isolate = move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
            mount(none, "/", none, private, none)?;
            mount(Some(&folder), "/etc", none, MsFlags::MS_BIND, none)?;
            Ok(())
        };
        // SAFETY: system calls, and paths that are short enough for the stack.
        unsafe { program.as_command().pre_exec(isolate) };
        Ok(Self { program: program.spawn()?, _stdin: writer, _etc: etc })
    }

    fn file(&self) -> String {
        format!("/proc/{}/root/etc/resolv.conf", self.program.pid())
    }
}

fn names(cause: &str, server: &str) -> Result<()> {
    let lab = healthy()?;
    let _container = Container::start(&lab, &format!("nameserver {server}\n"))?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone(cause, server)
}

#[test]
fn no_server_is_told() -> Result<()> {
    let lab = healthy()?;
    let container = Container::start(&lab, "search example.org\n")?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("dns-no-server", &container.file())
}

#[test]
fn its_own_server_does_not_run() -> Result<()> {
    names("dns-nobody-listens", "127.0.0.53")
}

#[test]
fn no_route_leads_to_the_server() -> Result<()> {
    names("dns-no-route", "2001:db8::53")
}

#[test]
fn the_router_does_not_answer() -> Result<()> {
    let lab = healthy()?;
    let _container = Container::start(&lab, "nameserver 10.0.0.1\n")?;
    let socket = lab.vm1.udp((VM1, 0))?;
    ensure!(dns::query(&socket, ROUTER, "lab.example").is_err(), "somebody answers");
    Examination::of(&lab.natbpf_cli()?)?.is_alone("dns-gateway-silent", "10.0.0.1")?;
    let _server = dns::serve(&lab.gw, ROUTER, "lab.example", SERVER)?;
    ensure!(dns::query(&socket, ROUTER, "lab.example")? == SERVER);
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()
}

/// The second one is asked where the first does not answer, and a rule may lead questions elsewhere.
#[test]
fn servers_that_may_answer_are_no_cause() -> Result<()> {
    let lab = healthy()?;
    let _two = Container::start(&lab, "nameserver 127.0.0.53\nnameserver 203.0.113.10\n")?;
    let _docker = Container::start(&lab, "nameserver 127.0.0.11\n")?;
    let _router = Container::start(&lab, "nameserver 10.0.0.1\n")?;
    let rule = "-t nat -A PREROUTING -p udp --dport 53 -j DNAT --to-destination 203.0.113.10";
    lab.gw.cmd("iptables").args(rule.split(' ')).run()?;
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()
}
