//! The root file system of the hosts, which `cargo xtask hosts` makes of Debian's packages.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

/// Where it is: `$NATBPF_HOSTS/root`.
pub fn root() -> Result<PathBuf> {
    let folder = env::var_os("NATBPF_HOSTS").context(
        "the hosts need a root file system with the platforms: `cargo xtask hosts` makes it, and so does `cargo xtask \
         bench` for a topology that is a host",
    )?;
    let root = PathBuf::from(folder).join("root");
    ensure!(root.is_dir(), "there is no {}: `cargo xtask hosts` makes it", root.display());
    Ok(root)
}

/// A folder with what guests boot: `vmlinuz` and `initramfs`.
pub fn guest_files() -> Result<PathBuf> {
    let folder = root()?.with_file_name("guest");
    ensure!(
        folder.join("initramfs").is_file(),
        "there is no guest in {}: `cargo xtask hosts` makes it",
        folder.display()
    );
    Ok(folder)
}
