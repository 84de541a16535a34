//! Hosts of real platforms: a root file system of Debian's packages, a guest to boot, and the program that makes them.

mod guest;
mod root;

use std::{ffi::OsString, fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};

use crate::{
    folders::release_folder,
    products,
    setup::{self, Need},
};

/// Hosts with guests, which boot something.
const WITH_GUESTS: [&str; 2] = ["libvirt", "migration"];

/// Runs the program `hosts` with all that it needs.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    setup::ensure(Need::Hosts)?;
    // Where options come first more is made ready than is asked for.
    let named: Vec<_> = args.iter().take_while(|arg| !arg.to_string_lossy().starts_with('-')).collect();
    let is_wanted = |name: &&str| named.is_empty() || named.iter().any(|arg| **arg == *name);
    let platforms: Vec<&str> = root::platforms().filter(is_wanted).collect();
    products::exec_hosts(args, ensure(&platforms)?)
}

/// Runs the benchmarks, with the host that is asked for as topology, if one is.
pub fn bench(args: &[OsString]) -> Result<ExitCode> {
    let asked = |name: &&str| {
        args.iter().any(|arg| {
            let arg = arg.to_string_lossy();
            arg.strip_prefix("--topology=").unwrap_or(&arg).starts_with(name)
        })
    };
    let hosts = match root::platforms().find(asked) {
        Some(platform) => {
            setup::ensure(Need::Hosts)?;
            Some(ensure(&[platform])?)
        }
        None => None,
    };
    products::exec_bench(args, hosts)
}

/// Makes what hosts of these platforms are made of, unless it is there; returns where it is.
fn ensure(platforms: &[&str]) -> Result<PathBuf> {
    let folder = release_folder()?.with_file_name("hosts");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    root::ensure(&folder, platforms)?;
    if WITH_GUESTS.iter().any(|name| platforms.contains(name)) {
        guest::ensure(&folder)?;
    }
    Ok(folder)
}
