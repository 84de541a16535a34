//! Putting a program in the place of an older version's, by its link.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use aya::programs::links::{FdLink, PinnedLink};

use super::errors::has_code;

/// Has `attach` put its program behind a pinned link, and give the link back. False: there is none that could be used.
pub fn replace(path: &Path, attach: impl FnOnce(FdLink) -> Result<FdLink>) -> Result<bool> {
    let Ok(pinned) = PinnedLink::from_pin(path) else { return Ok(false) };
    match attach(pinned.into()) {
        // Dropping the descriptor leaves the pin.
        Ok(link) => drop(link),
        // The interface it belonged to is gone, and another has its number now.
        Err(error) if has_code(error.as_ref(), libc::ENOLINK) => {
            fs::remove_file(path).context("cannot remove a dead link")?;
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    Ok(true)
}
