//! Where the sources are, and where cargo puts what it builds.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The folder of the workspace's Cargo.toml.
pub fn workspace() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Cargo puts what it builds beside us, whatever the target folder and the target are.
pub fn release_folder() -> Result<PathBuf> {
    let xtask = env::current_exe().context("cannot tell where xtask is: mount /proc")?;
    Ok(xtask.parent().unwrap_or(Path::new("target/release")).with_file_name("release"))
}
