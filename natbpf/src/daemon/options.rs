//! What the daemon is asked to do.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    config::{Config, keys::DatapathKeys},
    datapath::Pins,
};

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file, which is read again on SIGHUP.
    File(PathBuf, DatapathKeys),
    /// The command line.
    Arguments(Box<Config>),
}

impl Source {
    pub(super) fn read(&self) -> Result<Config> {
        match self {
            Self::File(path, arguments) => {
                let mut config = Config::from_file(path)?;
                config.datapath = config.datapath.with(arguments)?;
                Ok(config)
            }
            Self::Arguments(config) => Ok((**config).clone()),
        }
    }
}

/// The command line, read.
#[derive(Clone, Debug)]
pub struct Options {
    pub pins: Pins,
    pub bpffs: PathBuf,
    pub instance: String,
    pub source: Source,
    /// Leave the datapath in place at the end.
    pub stay: bool,
}
