//! What a host has, whichever platform made it.

use std::fmt::{self, Debug};
use std::path::PathBuf;

use anyhow::Result;

use super::check::Check;
use super::pod::Pod;
use super::streams::Stream;
use super::way::Way;
use crate::gateway::natbpf::{Cli, INSTANCE, Natbpf};
use crate::netns::{Namespace, isolate};
use crate::process::Cmd;

/// What happens to a host in its everyday life.
pub struct Event<'a> {
    pub what: &'static str,
    pub happen: Box<dyn Fn() -> Result<()> + 'a>,
}

impl Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

/// Measures beside these, one on each host, or beside none; what people should know of it.
type Take<'a> = dyn Fn(&[Natbpf]) -> Result<String> + 'a;

/// What is measured without natbpf and with it.
pub struct Measurement<'a> {
    pub what: &'static str,
    pub take: Box<Take<'a>>,
}

impl Debug for Measurement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

/// A host with the software that makes its rules.
pub trait Host: Debug {
    /// The pod that it is in. Without one it is made of this machine's programs.
    fn pod(&self) -> Option<&Pod> {
        None
    }

    /// Where natbpf is started.
    fn network(&self) -> &Namespace;

    /// One of its programs in one of its namespaces.
    fn cmd(&self, namespace: &Namespace, program: &str) -> Cmd {
        self.pod().map_or_else(|| namespace.cmd(program), |pod| pod.cmd_in(namespace, program))
    }

    fn natbpf_cli(&self) -> Result<Cli> {
        self.pod().map_or_else(|| Cli::new(self.network(), INSTANCE), |pod| Ok(pod.natbpf_cli()))
    }

    /// How many packets natbpf has repeated; nobody counts them without it.
    fn repeated(&self) -> Option<u64> {
        self.natbpf_cli().and_then(|natbpf| natbpf.counter("packets_repeated")).ok()
    }

    /// That of each host beside it, where natbpf is started, too.
    fn further_clis(&self) -> Vec<Cli> {
        Vec::new()
    }

    /// Where natbpf's tables are pinned, by a path of this machine.
    fn bpffs(&self) -> PathBuf {
        let bpffs = isolate::bpffs();
        self.pod().map_or_else(|| bpffs.to_owned(), |pod| pod.path(&bpffs.to_string_lossy()))
    }

    /// Other network namespaces of the host with rules of the platform.
    fn routers(&self) -> Vec<&Namespace> {
        Vec::new()
    }

    /// What a user of the platform expects to work, or not to.
    fn checks(&self) -> Vec<Check<'_>>;

    /// The ways on which packets are sent in masses.
    fn streams(&self) -> Vec<Stream<'_>>;

    /// Where no packet of a stream may be repeated, the device on its way that `natbpf status` says why of. `None`:
    /// they are to be repeated.
    fn left_to_kernel(&self, _stream: &Stream<'_>) -> Option<&'static str> {
        None
    }

    /// All that the platform's daemons have written, in the order in which each did.
    fn logs(&self) -> Result<String> {
        Ok(String::new())
    }

    /// What the platform does while packets pass.
    fn events(&self) -> Vec<Event<'_>>;

    /// What is compared by more than that it works. All of them leave the host as it was.
    fn measurements(&self) -> Vec<Measurement<'_>> {
        Vec::new()
    }

    /// The ways that benchmarks take, the platform's own first.
    fn ways(&self) -> Vec<Way<'_>>;
}
