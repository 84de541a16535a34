//! Debian packages.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::announce::announce;
use crate::command::{as_root, command, find, is_root, output_of, run_aside};

/// Packages whose installation starts a service that nobody here asked for, and that service.
const SERVICES: [(&str, &str); 2] =
    [("coturn", "coturn.service"), ("openvswitch-switch", "openvswitch-switch.service")];

/// apt-get, whose lists are brought up to date once and only when something is to be installed.
#[derive(Debug, Default)]
pub struct Apt {
    updated: bool,
}

impl Apt {
    /// Installs those of `packages` that are not installed.
    pub fn install(&mut self, packages: &[&str], why: &str) -> Result<()> {
        let missing: Vec<_> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let names = missing.join(" ");
        ensure!(
            find("apt-get").is_some(),
            "this machine has no apt-get: install what the Debian packages {names} hold ({why}) by its own means"
        );
        ensure!(
            is_root()? || find("sudo").is_some(),
            "installing packages needs root and this machine has no sudo: run as root `apt-get install {names}`"
        );
        announce(&names, why);
        self.update()?;
        for package in &missing {
            ensure!(is_offered(package)?, "apt has no package {package} ({why}): {}", way_out(package));
        }
        for (_, service) in SERVICES.iter().filter(|(package, _)| missing.contains(package)) {
            mask(service)?;
        }
        run_aside(apt_get()?.args(["install", "-y", "--no-install-recommends"]).args(&missing)).with_context(
            || format!("cannot install packages; `apt-get install {names}` as root has to work"),
        )
    }

    fn update(&mut self) -> Result<()> {
        if self.updated {
            return Ok(());
        }
        self.updated = true;
        // One broken source among others does not matter when the rest holds the packages.
        if let Err(error) = run_aside(apt_get()?.args(["update", "-q"])) {
            eprintln!("setup: {error:#}; going on with the package lists as they are");
        }
        Ok(())
    }
}

/// Sees to it that `service` is not started now or at the next boot; without systemd none is.
fn mask(service: &str) -> Result<()> {
    if find("systemctl").is_none() {
        return Ok(());
    }
    eprintln!(
        "setup: masking {service}, or its package would start it; `systemctl unmask {service}` undoes it"
    );
    run_aside(as_root("systemctl")?.args(["mask", service]))
}

/// apt-get that asks nothing, and waits for another one (a new machine's automatic upgrade) to end.
fn apt_get() -> Result<Command> {
    let mut apt_get = as_root("apt-get")?;
    apt_get.args(["-o", "DPkg::Lock::Timeout=300"]).env("DEBIAN_FRONTEND", "noninteractive");
    Ok(apt_get)
}

fn is_installed(package: &str) -> bool {
    let state = command("dpkg-query").args(["--show", "--showformat=${Status}", package]).output();
    state.is_ok_and(|state| state.stdout == b"install ok installed")
}

/// Whether apt has a version of `package` to install.
fn is_offered(package: &str) -> Result<bool> {
    Ok(has_candidate(&output_of(command("apt-cache").args(["policy", package]).env("LC_ALL", "C"))?))
}

fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate: "))
        .any(|version| version != "(none)")
}

fn way_out(package: &str) -> &'static str {
    if package.contains("-22-") {
        "add the LLVM project's apt repository for LLVM 22 and run `cargo xtask setup` again, or put a bpf-linker 0.13 \
         that is built with LLVM 22 on PATH"
    } else {
        "install the program by other means"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_is_offered_only_with_a_candidate() {
        assert!(has_candidate("curl:\n  Installed: (none)\n  Candidate: 7.88.1-10\n  Version table:\n"));
        assert!(!has_candidate("llvm-22-dev:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n"));
        assert!(!has_candidate(""));
    }
}
