//! A QEMU with its TAP on the bridge of one of the hosts, as libvirt starts it.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::node::{BETWEEN, Node};
use super::qmp::Qmp;
use crate::hosts::guest::{COMMAND_LINE, FOLDER, Guest, MEMORY};
use crate::process::Process;
use crate::process::wait::wait_until;

/// The guest's card.
pub const MAC: &str = "52:54:00:00:00:01";

const READY: Duration = Duration::from_secs(20);

/// Where the guest is, or may come.
#[derive(Debug)]
pub struct Machine {
    name: String,
    /// Which of the hosts it is on.
    pub node: usize,
    qmp: Qmp,
    process: Process,
}

impl Machine {
    /// One that boots the guest.
    pub fn boot(nodes: &[Node], node: usize, number: u32) -> Result<Self> {
        Self::start(nodes, node, number, &[])
    }

    /// One that waits for a guest.
    fn waiting(nodes: &[Node], node: usize, number: u32) -> Result<Self> {
        Self::start(nodes, node, number, &["-incoming", &uri(&name(number))])
    }

    fn start(nodes: &[Node], node: usize, number: u32, more: &[&str]) -> Result<Self> {
        let Node { namespace, pod } = &nodes[node];
        let name = name(number);
        namespace.ip(&format!("tuntap add dev {name} mode tap\nlink set {name} master br0 up"))?;
        let socket = format!("/tmp/{name}.qmp");
        let process = pod
            .program("qemu-system-x86_64")
            .args(["-machine", "pc,accel=tcg", "-cpu", "max", "-m", &MEMORY.to_string()])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .arg("-kernel")
            .arg(format!("{FOLDER}/vmlinuz"))
            .arg("-initrd")
            .arg(format!("{FOLDER}/initramfs"))
            .args(["-append", COMMAND_LINE])
            .args(["-netdev", &format!("tap,id=net,ifname={name},script=no,downscript=no")])
            .args(["-device", &format!("virtio-net-pci,netdev=net,mac={MAC}")])
            .args(["-serial", &format!("file:/tmp/{name}.log")])
            .args(["-serial", &format!("unix:/tmp/{name}.sock,server=on,wait=off")])
            .args(["-qmp", &format!("unix:{socket},server=on,wait=off")])
            .args(more)
            .spawn()?;
        let socket = pod.path(&socket);
        let listens = wait_until("QEMU listens", READY, || Ok(Qmp::connect(&socket).is_ok()));
        listens.with_context(|| process.stderr_text())?;
        let qmp = Qmp::connect(&socket)?;
        Ok(Self { name, node, qmp, process })
    }

    /// Waits until the guest has booted.
    pub fn guest_booted(&self, nodes: &[Node]) -> Result<Guest> {
        Guest::booted(&nodes[self.node].pod, &self.name)
    }

    /// The guest, which has its address.
    pub fn guest(&self, nodes: &[Node], address: Ipv4Addr) -> Guest {
        Guest::running(&nodes[self.node].pod, &self.name, address)
    }

    /// Moves the guest to a new one, this one and its TAP ending then; for how long the guest stood still, by QEMU's
    /// account.
    pub fn move_to(&mut self, nodes: &[Node], node: usize, number: u32) -> Result<Duration> {
        let mut there = Self::waiting(nodes, node, number)?;
        let downtime = self.qmp.migrate(&uri(&there.name))?;
        let end = Instant::now() + READY;
        while !there.qmp.is_running()? {
            ensure!(Instant::now() < end, "the guest does not run where it has moved to");
        }
        std::mem::swap(self, &mut there);
        there.end(nodes)?;
        Ok(downtime)
    }

    fn end(mut self, nodes: &[Node]) -> Result<()> {
        self.qmp.execute("quit", &json!({}))?;
        self.process.wait(READY)?;
        nodes[self.node].namespace.ip(&format!("link del {}", self.name))
    }
}

/// That of a QEMU and of its TAP.
fn name(number: u32) -> String {
    format!("vnet{number}")
}

fn uri(name: &str) -> String {
    format!("unix:{BETWEEN}/{name}")
}
