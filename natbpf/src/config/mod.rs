//! What the operator wants, checked: from a file or from the arguments of `natbpf masquerade`.

use std::path::Path;

use ipnet::Ipv4Net;
use natbpf_common::state::Timeouts;

use crate::cli::{DatapathArgs, MasqueradeArgs};

mod check;
mod file;
#[cfg(test)]
mod tests;
mod timeouts;
pub mod values;

pub use check::Problem;
pub use file::ConfigError;
pub use values::{AttachMode, Mapping, Ports};

/// A whole configuration. Interfaces may still be missing: `plan` finds out.
#[derive(Clone, Debug)]
pub struct Config {
    /// At least one; sources of the same uplink do not overlap.
    pub rules: Vec<MasqueradeRule>,
    pub datapath: DatapathConfig,
    pub timeouts: Timeouts,
}

/// One `[[masquerade]]`, or the arguments of `natbpf masquerade`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasqueradeRule {
    /// Name of the uplink.
    pub out: String,
    /// Never empty: 0.0.0.0/0 where the operator named none.
    pub sources: Vec<Ipv4Net>,
    /// Destinations left alone.
    pub except: Vec<Ipv4Net>,
    pub mapping: Mapping,
    /// External TCP and UDP ports; `None`: those of the source port's class.
    pub to_ports: Option<Ports>,
    /// A random external port for every mapping.
    pub random: bool,
}

/// `[datapath]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatapathConfig {
    /// Flows the table holds, [`DatapathConfig::MIN_FLOWS`] to [`DatapathConfig::MAX_FLOWS`].
    pub max_flows: u32,
    pub attach: AttachMode,
    /// Stay beside TC programs of somebody else instead of refusing to attach.
    pub coexist: bool,
}

impl DatapathConfig {
    /// So small only for tests of a full table.
    pub const MIN_FLOWS: u32 = 16;
    /// The table is allocated whole at the start, a few gigabytes at this size.
    pub const MAX_FLOWS: u32 = 1 << 24;

    /// Lets what was said on the command line win over the file.
    pub fn apply(&mut self, arguments: &DatapathArgs) {
        if let Some(attach) = arguments.attach {
            self.attach = attach;
        }
        self.coexist |= arguments.coexist;
    }
}

impl Default for DatapathConfig {
    fn default() -> Self {
        Self { max_flows: 1 << 18, attach: AttachMode::Auto, coexist: false }
    }
}

impl Config {
    /// Reads and checks a TOML file. The error names file, line and column.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        file::read(path)
    }

    /// The configuration that `natbpf masquerade` was given.
    pub fn from_masquerade(arguments: &MasqueradeArgs) -> Result<Self, Problem> {
        let sources = match &arguments.sources[..] {
            [] => vec![Ipv4Net::default()],
            sources => sources.to_vec(),
        };
        let rules = vec![MasqueradeRule {
            out: arguments.out.clone(),
            sources,
            except: arguments.except.clone(),
            mapping: arguments.mapping,
            to_ports: arguments.to_ports,
            random: arguments.random,
        }];
        check::check(&rules).map_err(|misfit| misfit.problem)?;
        let mut datapath = DatapathConfig::default();
        datapath.apply(&arguments.datapath);
        if let Some(max_flows) = arguments.max_flows {
            datapath.max_flows = max_flows;
        }
        Ok(Self { rules, datapath, timeouts: Timeouts::default() })
    }
}
