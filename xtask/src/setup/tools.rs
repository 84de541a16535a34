//! Programs that labs, tests and benchmarks call, and the Debian packages that hold them.

use anyhow::{Result, ensure};

use super::apt::Apt;
use crate::command::find;

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
    tool("conntrack", "conntrack"),
    tool("dnsmasq", "dnsmasq-base"),
    tool("iptables", "iptables"),
    tool("nft", "nftables"),
    tool("nstat", "iproute2"),
    tool("python3", "python3-minimal"),
    tool("ss", "iproute2"),
    tool("tc", "iproute2"),
    tool("tcpdump", "tcpdump"),
];

pub fn ensure(sets: &[&[Tool]], apt: &mut Apt) -> Result<()> {
    let missing = missing(sets);
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!("for {}", programs(&missing));
    apt.install(&packages(&missing), &why)?;

    let still_missing = self::missing(sets);
    ensure!(
        still_missing.is_empty(),
        "packages {} are installed, but {} cannot be found on PATH",
        packages(&still_missing).join(" "),
        programs(&still_missing)
    );
    Ok(())
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
