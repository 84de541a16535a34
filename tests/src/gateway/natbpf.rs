//! The natbpf daemon of a lab's gateway, and its command line.

use std::cell::Cell;
use std::env;
use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::setup::Setup;
use crate::netns::Namespace;
use crate::netns::isolate::bpffs;
use crate::process::{Cmd, Process, Stream};

/// What natbpf calls itself in a lab.
pub(crate) const INSTANCE: &str = "lab";

/// How long until `ready`: loading verifies four programs, slowly on an emulated machine.
const READY: Duration = Duration::from_mins(1);
const STOP: Duration = Duration::from_secs(10);

/// The binary: `$NATBPF_BIN`, or the one that cargo built next to this program.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("NATBPF_BIN") {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "NATBPF_BIN is {}, where no program is", path.display());
        return Ok(path);
    }
    let this = env::current_exe().context("cannot find out where this program is")?;
    // A test's program is in `deps`, one directory below the binaries.
    let found = this.ancestors().skip(1).take(2).map(|dir| dir.join("natbpf")).find(|path| path.is_file());
    found.with_context(|| {
        format!("no natbpf next to {}: build it (cargo build -p natbpf) or set NATBPF_BIN", this.display())
    })
}

/// A running daemon in the gateway; killed when dropped, which leaves its datapath at work.
#[derive(Debug)]
pub struct Natbpf {
    process: Process,
    cli: Cli,
    ready: String,
    config: Option<TempDir>,
}

/// The way to call natbpf in the gateway of one lab.
#[derive(Clone, Debug)]
pub struct Cli {
    place: Place,
    binary: PathBuf,
    instance: String,
}

#[derive(Clone, Debug)]
enum Place {
    /// A network namespace; all else is the lab's.
    Network(Arc<OwnedFd>),
    /// A pod, by its first process, in its network namespace.
    Pod(Arc<OwnedFd>),
}

impl Cli {
    /// That of an instance in a network namespace.
    pub fn new(gw: &Namespace, instance: &str) -> Result<Self> {
        let place = Place::Network(gw.netns.clone());
        Ok(Self { place, binary: binary()?, instance: instance.to_owned() })
    }

    /// That of a pod, which has the program at `binary`.
    pub(crate) fn in_pod(first: Arc<OwnedFd>, binary: &Path, instance: &str) -> Self {
        Self { place: Place::Pod(first), binary: binary.to_owned(), instance: instance.to_owned() }
    }

    /// The same with another natbpf.
    pub fn binary(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.binary);
        self
    }

    /// `natbpf --bpffs … --instance …` in the gateway, `args` to be added.
    pub fn cmd(&self) -> Cmd {
        let cmd = match &self.place {
            Place::Network(netns) => Cmd::in_netns(&self.binary, netns.clone()),
            Place::Pod(first) => Cmd::in_pod(&self.binary, first.clone()),
        };
        cmd.arg("--bpffs").arg(bpffs()).args(["--instance", &self.instance])
    }

    /// Runs it to its end, whatever the exit status.
    pub fn output<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Output> {
        self.cmd().args(args).output()
    }

    /// The configuration that `natbpf import` makes of what `iptables-save` wrote, and what it says of the rest. Where
    /// rules name no uplink, `wan` is meant.
    pub fn import(&self, save: &str) -> Result<(String, String)> {
        self.import_for(&["wan"], save)
    }

    /// As [`Cli::import`] for these uplinks.
    pub fn import_for(&self, uplinks: &[&str], save: &str) -> Result<(String, String)> {
        let mut file = tempfile::NamedTempFile::new().context("cannot make a file of rules")?;
        file.write_all(save.as_bytes())?;
        let output = {
            let uplinks = uplinks.iter().flat_map(|uplink| ["--uplink", uplink]);
            self.cmd().arg("import").args(uplinks).arg(file.path()).output()?
        };
        let [toml, said] = [output.stdout, output.stderr].map(String::from_utf8);
        let (toml, said) = (toml?, said?);
        ensure!(output.status.success(), "`natbpf import` ended with {}: {said}", output.status);
        Ok((toml, said))
    }

    pub fn status_json(&self) -> Result<serde_json::Value> {
        let text = self.cmd().args(["status", "--json"]).output_text()?;
        serde_json::from_str(&text).with_context(|| format!("`natbpf status --json` is not JSON: {text}"))
    }

    /// A counter of the datapath by its name in `status`; needs no daemon.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let status = self.status_json()?;
        let groups = status["counters"].as_object().context("`natbpf status --json` has no counters")?;
        let found = groups.values().find_map(|group| group[name].as_u64());
        found.with_context(|| format!("natbpf has no counter {name}"))
    }

    /// Starts a daemon (`run …` or `masquerade …`) and waits for its `ready`. What `NATBPF_OFFLOAD` says
    /// (`on` or `off`) it is told by `--offload`, so that every test can be run with both.
    ///
    /// # Errors
    /// When it ends or 20 seconds pass before that; the text has what it wrote to standard error.
    pub fn start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Natbpf> {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let said = args.iter().any(|arg| arg == "--offload");
        let offload = env::var("NATBPF_OFFLOAD").ok().filter(|_| !said);
        let offload = offload.iter().flat_map(|value| ["--offload", value]);
        let process = self.cmd().args(&args).args(offload).spawn()?;
        let ready = process.wait_for(Stream::Stdout, READY, |line| line.starts_with("ready"))?;
        Ok(Natbpf { process, cli: self.clone(), ready, config: None })
    }
}

impl Natbpf {
    /// What a command line can say goes by one, as most operators will have it, the rest by a file.
    pub(crate) fn for_setup(cli: &Cli, setup: &Setup) -> Result<Self> {
        if let Some(args) = setup.natbpf_args() {
            return cli.start(args);
        }
        Self::for_toml(cli, &setup.toml())
    }

    /// Starts one by a configuration file of its own.
    pub fn for_toml(cli: &Cli, toml: &str) -> Result<Self> {
        let dir = tempfile::tempdir().context("cannot make a directory for natbpf.toml")?;
        let file = dir.path().join("natbpf.toml");
        std::fs::write(&file, toml).with_context(|| format!("cannot write {}", file.display()))?;
        let daemon = cli.start([OsStr::new("run"), OsStr::new("-c"), file.as_os_str()])?;
        Ok(Self { config: Some(dir), ..daemon })
    }

    /// The command line for the same gateway and instance.
    pub fn cli(&self) -> &Cli {
        &self.cli
    }

    /// The line that said `ready`.
    pub fn ready_line(&self) -> &str {
        &self.ready
    }

    /// The configuration file that was written for what no command line says.
    pub fn config_file(&self) -> Option<PathBuf> {
        self.config.as_ref().map(|dir| dir.path().join("natbpf.toml"))
    }

    /// The process of the daemon, to wait for a line of its log or look at its standard error.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it has written to standard error so far.
    pub fn log(&self) -> String {
        self.process.stderr_text()
    }

    /// SIGTERM; returns what it said and its exit status.
    pub fn stop(self) -> Result<Output> {
        self.process.stop(Signal::SIGTERM, STOP)
    }

    /// SIGKILL: the datapath stays.
    pub fn kill(self) -> Result<Cli> {
        self.process.stop(Signal::SIGKILL, STOP)?;
        Ok(self.cli)
    }

    /// SIGHUP: read the configuration again. Returns at once.
    pub fn reload(&self) -> Result<()> {
        self.process.signal(Signal::SIGHUP)
    }

    /// Writes another configuration into its file, has it read that, and waits until it counts.
    pub fn reconfigure(&mut self, toml: &str) -> Result<()> {
        let file = self.config_file().context("natbpf was started without a file: Setup::in_a_file")?;
        std::fs::write(&file, toml).with_context(|| format!("cannot write {}", file.display()))?;
        let answer = |line: &str| line.contains("reloaded");
        let earlier = self.log().lines().filter(|line| answer(line)).count();
        self.reload()?;
        let answers = Cell::new(0);
        let said = self.process.wait_for(Stream::Stderr, STOP, |line| {
            answers.set(answers.get() + usize::from(answer(line)));
            answers.get() > earlier
        })?;
        ensure!(said.contains(" reloaded;"), "natbpf did not take the new configuration: {said}");
        Ok(())
    }

    pub fn status(&self) -> Result<String> {
        self.cli.cmd().arg("status").output_text()
    }

    pub fn status_json(&self) -> Result<serde_json::Value> {
        self.cli.status_json()
    }

    pub fn flows_list(&self) -> Result<String> {
        self.cli.cmd().args(["flows", "list"]).output_text()
    }

    pub fn flows_count(&self) -> Result<u64> {
        let text = self.cli.cmd().args(["flows", "count"]).output_text()?;
        match text.trim().parse() {
            Ok(count) => Ok(count),
            Err(_) => bail!("`natbpf flows count` printed {text:?}"),
        }
    }

    /// A counter of the datapath by its name in `status`.
    pub fn counter(&self, name: &str) -> Result<u64> {
        self.cli.counter(name)
    }
}
