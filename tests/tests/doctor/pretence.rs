//! Files that are one for the whole machine: a lab sees others in their place.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A file that the calling thread, which has a lab, and what it starts see in the place of another one.
#[derive(Debug)]
pub struct Pretence {
    place: PathBuf,
    _file: tempfile::NamedTempFile,
}

impl Pretence {
    pub fn new(place: impl AsRef<Path>, text: &str) -> Result<Self> {
        let (place, file) = (place.as_ref(), tempfile::NamedTempFile::new()?);
        fs::write(&file, text)?;
        mount(Some(file.path()), place, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("cannot put a file in the place of {}", place.display()))?;
        Ok(Self { place: place.to_owned(), _file: file })
    }
}

impl Drop for Pretence {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.place, MntFlags::MNT_DETACH) {
            eprintln!("cannot take away what is in the place of {}: {error}", self.place.display());
        }
    }
}
