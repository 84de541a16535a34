//! The root file system: Debian 12 with the platforms, by debootstrap. Nothing of them is installed on the machine.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    boot::packages,
    command::{as_root, run_aside},
    setup::announce::announce,
};

/// Makes a root in which packages are installed and no daemon is started.
const SCRIPT: &str = include_str!("root.sh");

/// The release that has all of the platforms, Neutron's agent for Linux bridges among them.
const RELEASE: &str = "bookworm";

/// What every host needs.
const BASE: &str = "busybox-static conntrack ebtables ethtool iproute2 ipset iptables nftables procps";

/// What else is installed for each, by the name that the program `hosts` has for it.
const PLATFORMS: [(&str, &str); 5] = [
    ("docker", "docker.io"),
    ("podman", "podman netavark aardvark-dns crun"),
    (
        "libvirt",
        "libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients libvirt-daemon-config-network \
         libvirt-daemon-config-nwfilter qemu-system-x86 seabios ipxe-qemu dnsmasq-base",
    ),
    (
        "neutron",
        "mariadb-server python3-pymysql neutron-server neutron-l3-agent neutron-dhcp-agent neutron-linuxbridge-agent \
         rabbitmq-server haproxy iputils-arping keepalived curl",
    ),
    ("migration", "qemu-system-x86 seabios ipxe-qemu"),
];

/// Makes `root` in `folder` for these platforms, or adds to it what it lacks of them.
pub fn ensure(folder: &Path, platforms: &[&str]) -> Result<()> {
    let root = folder.join("root");
    let stamp = root.join(".packages");
    let there = fs::read_to_string(&stamp).unwrap_or_default();
    let there: BTreeSet<&str> = there.split_whitespace().collect();
    let missing: Vec<_> = needed(platforms).filter(|package| !there.contains(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    announce(
        &root.display().to_string(),
        &format!("a Debian 12 with {}; takes some minutes and 2 GB at most", platforms.join(", ")),
    );
    let mut make = as_root("sh")?;
    make.args(["-euc", SCRIPT, "sh"]).arg(&root).args([RELEASE, &packages::archive()?, &missing.join(" ")]);
    run_aside(&mut make).with_context(|| {
        format!(
            "cannot make {}: apt has to reach its mirror; remove the folder to begin anew",
            root.display()
        )
    })
}

/// The names of all that have packages.
pub fn platforms() -> impl Iterator<Item = &'static str> {
    PLATFORMS.iter().map(|(name, _)| *name)
}

fn needed(platforms: &[&str]) -> impl Iterator<Item = &'static str> {
    let theirs = PLATFORMS.iter().filter(|(name, _)| platforms.contains(name)).map(|(_, packages)| *packages);
    [BASE].into_iter().chain(theirs).flat_map(str::split_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_installed_where_it_is_asked_for() {
        let docker: Vec<_> = needed(&["docker"]).collect();
        assert!(docker.contains(&"docker.io") && docker.contains(&"iproute2"));
        assert!(!docker.contains(&"neutron-server"));
        let all: Vec<_> = platforms().collect();
        assert!(needed(&all).any(|package| package == "neutron-server"));
    }
}
