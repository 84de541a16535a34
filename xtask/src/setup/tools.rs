//! Programs that labs, tests and benchmarks call, and the Debian packages that hold them.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::apt::Apt;
use crate::command::{as_root, find, run_aside};

/// A program, and the Debian package that it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    program: &'static str,
    package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

pub const LAB: &[Tool] = &[
    tool("curl", "curl"),
    tool("ethtool", "ethtool"),
    tool("ip", "iproute2"),
    tool("iperf3", "iperf3"),
    tool("ping", "iputils-ping"),
];

pub const TEST: &[Tool] = &[
    tool("bpftool", "bpftool"),
    tool("bridge", "iproute2"),
    tool("conntrack", "conntrack"),
    tool("dnsmasq", "dnsmasq-base"),
    tool("iptables", "iptables"),
    tool("nft", "nftables"),
    tool("nstat", "iproute2"),
    tool("python3", "python3-minimal"),
    tool("ss", "iproute2"),
    tool("tc", "iproute2"),
    tool("tcpdump", "tcpdump"),
    tool("tracepath", "iputils-tracepath"),
    tool("traceroute", "traceroute"),
    tool("turnserver", "coturn"),
    tool("turnutils_natdiscovery", "coturn"),
];

/// Debian's kernels in virtual machines.
pub const VM: &[Tool] = &[
    tool("busybox", "busybox"),
    tool("depmod", "kmod"),
    tool("ldd", "libc-bin"),
    tool("qemu-system-x86_64", "qemu-system-x86"),
    tool("strip", "binutils"),
    tool("sysctl", "procps"),
];

/// Services that a package of the above brings and starts. Only its programs are wanted.
const SERVICES: &[(&str, &str)] = &[("coturn", "coturn.service")];

/// libFuzzer is C++.
pub const FUZZ: &[Tool] = &[tool("c++", "g++")];

/// The names of the programs in `sets`.
pub fn programs_of(sets: &[&[Tool]]) -> impl Iterator<Item = &'static str> {
    sets.concat().into_iter().map(|tool| tool.program)
}

pub fn ensure(sets: &[&[Tool]], apt: &mut Apt) -> Result<()> {
    let missing = missing(sets);
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!("for {}", programs(&missing));
    apt.install(&packages(&missing), &why)?;
    for (_, service) in SERVICES.iter().filter(|(package, _)| packages(&missing).contains(package)) {
        switch_off(service)?;
    }

    let still_missing = self::missing(sets);
    ensure!(
        still_missing.is_empty(),
        "packages {} are installed, but {} cannot be found on PATH",
        packages(&still_missing).join(" "),
        programs(&still_missing)
    );
    Ok(())
}

/// Stops a service for good, where there is a systemd that would start it.
fn switch_off(service: &str) -> Result<()> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Ok(());
    }
    run_aside(as_root("systemctl")?.args(["disable", "--now", service]))
        .with_context(|| format!("cannot switch off {service}, which is not wanted; `systemctl disable --now {service}` has to work"))
}

fn missing(sets: &[&[Tool]]) -> Vec<Tool> {
    sets.concat().into_iter().filter(|tool| find(tool.program).is_none()).collect()
}

fn programs(tools: &[Tool]) -> String {
    tools.iter().map(|tool| tool.program).collect::<Vec<_>>().join(", ")
}

/// Each package once, sorted.
fn packages(tools: &[Tool]) -> Vec<&'static str> {
    let mut packages: Vec<_> = tools.iter().map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_with_several_programs_is_installed_once() {
        let tools = [tool("tc", "iproute2"), tool("conntrack", "conntrack"), tool("ip", "iproute2")];
        assert_eq!(packages(&tools), ["conntrack", "iproute2"]);
        assert_eq!(programs(&tools), "tc, conntrack, ip");
    }
}
