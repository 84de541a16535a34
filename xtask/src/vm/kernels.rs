//! The kernels that are asked for, or that a command needs.

use std::{ffi::OsString, path::Path};

use anyhow::{Result, bail};

use crate::boot::{
    packages::{Kernel, Packages},
    versions::{Flavour, Wanted},
};

/// The product that makes hosts of platforms.
pub const HOSTS: &str = "hosts";
/// The one of them whose uplink is PPP.
const WITH_PPP: &str = "pppoe";

/// Those of the command line, without which `command` decides, each once and unpacked.
pub fn kernels(
    folder: &Path,
    wanted: &[Wanted],
    flavour: Option<Flavour>,
    command: &[OsString],
) -> Result<Vec<Kernel>> {
    let packages = Packages::open(folder)?;
    let flavour = flavour.unwrap_or_else(|| needed_by(command));
    let wanted = match (wanted, command.is_empty()) {
        ([], true) => vec![Wanted::Series(6, 1), Wanted::Series(6, 12), Wanted::Newest],
        ([], false) => vec![Wanted::Newest],
        (chosen, true) => chosen.to_vec(),
        ([one], false) => vec![*one],
        _ => bail!("a command runs on one kernel: give one --kernel"),
    };
    let mut kernels: Vec<Kernel> = Vec::new();
    for wanted in wanted {
        let release = packages.choose(wanted, flavour)?;
        if kernels.iter().any(|kernel| kernel.release == release) {
            eprintln!("vm: {wanted} is {release}, which is among them already: Debian offers nothing newer");
            continue;
        }
        kernels.push(packages.kernel(&release)?);
    }
    Ok(kernels)
}

/// The small one, unless it lacks something.
fn needed_by(command: &[OsString]) -> Flavour {
    match command {
        [name, args @ ..] if name == HOSTS && args.iter().any(|arg| arg == WITH_PPP) => Flavour::Full,
        _ => Flavour::Cloud,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_with_ppp_needs_the_full_kernel() {
        let needed = |line: &str| {
            let command: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            needed_by(&command)
        };
        assert_eq!(needed("hosts router pppoe --seconds 3"), Flavour::Full);
        assert_eq!(needed("hosts router --seconds 3"), Flavour::Cloud);
        assert_eq!(needed("e2e pppoe"), Flavour::Cloud);
        assert_eq!(needed(""), Flavour::Cloud);
    }
}
