//! Programs: run to their end with a time limit, or kept running behind a guard that ends them.

pub mod interrupt;
pub(crate) mod limits;
mod lines;
pub mod programs;
pub(crate) mod wait;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, io};

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use lines::Lines;
use programs::{PROGRAMS, Program, Purpose};

/// How long a program that should end by itself may take.
const LIMIT: Duration = Duration::from_mins(2);

/// A command, perhaps inside a network namespace or a pod.
pub struct Cmd {
    command: Command,
    limit: Duration,
    /// The first process of the pod that it is started in.
    pod: Option<Arc<OwnedFd>>,
}

impl fmt::Debug for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())
    }
}

impl Cmd {
    /// A command in the network namespace of the calling thread.
    ///
    /// # Panics
    /// When the program is in no list of [`programs`]: it would be missing on other machines. Products of the
    /// workspace are called by their paths.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let (program, path) = (program.as_ref(), search_path());
        declared(program);
        #[expect(clippy::disallowed_methods, reason = "here it is known what set-up installs")]
        let mut command = Command::new(locate(program, &path));
        command.stdin(Stdio::null()).env("LC_ALL", "C").env("PATH", path);
        Self { command: with_us(command), limit: LIMIT, pod: None }
    }

    /// A command of a pod, whatever is installed there, as if its root had logged in. `first` is the pod's first
    /// process (pidfd_open(2)).
    pub(crate) fn in_pod(program: impl AsRef<OsStr>, first: Arc<OwnedFd>) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "who makes the root of the pod knows what is installed there"
        )]
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).env_clear().envs(POD_ENVIRONMENT);
        let mut command = with_us(command);
        let pod = first.clone();
        let namespaces = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWCGROUP;
        // SAFETY: setns(2) is async-signal-safe; the descriptor lives as long as the closure.
        unsafe {
            command.pre_exec(move || setns(first.as_fd(), namespaces).map_err(io::Error::from));
        }
        Self { command, limit: LIMIT, pod: Some(pod) }
    }

    /// The same in another network namespace.
    pub(crate) fn and_netns(mut self, netns: Arc<OwnedFd>) -> Self {
        // SAFETY: setns(2) is async-signal-safe; the descriptor lives as long as the closure.
        unsafe {
            self.command
                .pre_exec(move || setns(netns.as_fd(), CloneFlags::CLONE_NEWNET).map_err(io::Error::from));
        }
        self
    }

    pub(crate) fn in_netns(program: impl AsRef<OsStr>, netns: Arc<OwnedFd>) -> Self {
        // Not `ip netns exec`: that mounts a new /sys, under which the bpffs of the lab would disappear.
        Self::new(program).and_netns(netns)
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self
    }

    /// Replaces the 120 seconds that [`Cmd::run`] and its kin wait before they kill the program.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// For whatever this type does not offer, such as dropping a capability before the start.
    pub fn as_command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// When it cannot start, exceeds its time or fails; the text has the command line, status and standard
    /// error.
    pub fn run(self) -> Result<()> {
        self.output_text().map(drop)
    }

    /// As [`Cmd::run`], returning standard output.
    pub fn output_text(self) -> Result<String> {
        let line = self.line();
        let output = self.output()?;
        if !output.status.success() {
            bail!("`{line}` failed ({}): {}", output.status, complaint(&output));
        }
        String::from_utf8(output.stdout)
            .with_context(|| format!("`{line}` wrote something that is not UTF-8"))
    }

    /// Runs to the end, whatever its exit status.
    pub fn output(self) -> Result<Output> {
        let limit = self.limit;
        self.spawn()?.finish(limit)
    }

    pub fn spawn(mut self) -> Result<Process> {
        self.command.stdout(Stdio::piped());
        self.start()
    }

    /// Starts it with its standard output going to `stdout`.
    pub fn spawn_into(mut self, stdout: impl Into<Stdio>) -> Result<Process> {
        self.command.stdout(stdout);
        self.start()
    }

    fn start(mut self) -> Result<Process> {
        let line = self.line();
        self.command.stderr(Stdio::piped());
        let command = &mut self.command;
        let mut child = match &self.pod {
            Some(first) => with_children_in(first, || command.spawn()),
            None => command.spawn(),
        }
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(&self.command),
            _ => anyhow!("cannot start `{line}`: {error}"),
        })?;
        let stdout = child.stdout.take().map_or_else(|| Ok(Lines::none()), Lines::read)?;
        let stderr = child.stderr.take().map_or_else(|| Ok(Lines::none()), Lines::read)?;
        Ok(Process { child, line, stdout, stderr })
    }

    fn line(&self) -> String {
        let program = self.command.get_program().to_string_lossy();
        let name = program.rsplit('/').next().unwrap_or(&program);
        let args = self.command.get_args().map(|arg| format!(" {}", arg.to_string_lossy()));
        format!("{name}{}", args.collect::<String>())
    }
}

/// What root has in a pod.
const POD_ENVIRONMENT: [(&str, &str); 4] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("TERM", "dumb"),
    ("LC_ALL", "C"),
];

/// A process group of its own, so that a Ctrl-C at the terminal reaches the lab only, which then ends its programs in
/// order; and death with the thread that started it, should the lab itself be killed.
fn with_us(mut command: Command) -> Command {
    command.process_group(0);
    // SAFETY: prctl(2) is async-signal-safe and touches no memory of the parent.
    unsafe {
        command.pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from));
    }
    command
}

/// Starts a child in the PID namespace of `first`. A process cannot change into another one, but a thread can say
/// where its children are born.
fn with_children_in<T>(first: &OwnedFd, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let ours = File::open("/proc/thread-self/ns/pid")?;
    setns(first.as_fd(), CloneFlags::CLONE_NEWPID)?;
    let started = start();
    setns(ours.as_fd(), CloneFlags::CLONE_NEWPID)?;
    started
}

/// Which stream of a process to look at.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// A running program; killed, by its process id, and waited for when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    line: String,
    stdout: Lines,
    stderr: Lines,
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a line on `stream` satisfies `wanted` and returns it.
    ///
    /// # Errors
    /// When the stream ends or `limit` passes before; the text has what the program said so far.
    pub fn wait_for(&self, stream: Stream, limit: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let lines = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        };
        match lines.wait_for(limit, wanted)? {
            Ok(line) => Ok(line),
            Err(why) => bail!("`{}` {why}: {}", self.line, self.stderr_text().trim()),
        }
    }

    /// Standard output so far: all that was written before this call.
    pub fn stdout_text(&self) -> String {
        self.stdout.text()
    }

    /// Standard error so far: all that was written before this call.
    pub fn stderr_text(&self) -> String {
        self.stderr.text()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(pid_of(&self.child), signal).with_context(|| format!("cannot send {signal} to `{}`", self.line))
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// After `limit`, and after a Ctrl-C; the program then runs on until the guard is dropped.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.wait_checking(limit, interrupt::check)
    }

    fn wait_checking(&mut self, limit: Duration, check: impl Fn() -> Result<()>) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        let mut pause = Duration::from_micros(500);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            check()?;
            if Instant::now() > end {
                let said = self.stderr_text();
                bail!("`{}` did not end within {} s: {}", self.line, limit.as_secs(), said.trim());
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Waits for the end and returns what it wrote.
    pub fn finish(mut self, limit: Duration) -> Result<Output> {
        let status = self.wait(limit)?;
        Ok(self.output(status))
    }

    /// Sends `signal` and waits for the end, also after a Ctrl-C: an orderly stop is what that asks for.
    pub fn stop(mut self, signal: Signal, limit: Duration) -> Result<Output> {
        self.signal(signal)?;
        let status = self.wait_checking(limit, || Ok(()))?;
        Ok(self.output(status))
    }

    fn output(&self, status: ExitStatus) -> Output {
        Output { status, stdout: self.stdout.rest(), stderr: self.stderr.rest() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only for a process that has been waited for, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// What a program had to say for itself: standard error, or standard output where that is empty.
fn complaint(output: &Output) -> String {
    let text = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    String::from_utf8_lossy(text).trim().to_owned()
}

/// This process starts only what the set-up for the lab brings.
static ONLY_LAB: AtomicBool = AtomicBool::new(false);

/// From now on this process starts only what set-up installs for the lab.
pub fn only_for_the_lab() {
    ONLY_LAB.store(true, Ordering::Relaxed);
}

fn declared(program: &OsStr) {
    let name = program.to_string_lossy();
    let purpose = if ONLY_LAB.load(Ordering::Relaxed) { Purpose::Lab } else { Purpose::Test };
    let permitted = listed(&name).is_some_and(|program| programs::permits(purpose, program));
    assert!(
        permitted || name.contains('/'),
        "`{name}` is not installed for {purpose:?}: see tests/src/programs.rs"
    );
}

fn listed(name: &str) -> Option<&'static Program> {
    PROGRAMS.iter().find(|program| program.name == name)
}

/// Where programs are: `NATBPF_PATH` alone, by which `cargo xtask` names all that there is, or PATH. System
/// tools are also found where the PATH of an ordinary user does not look.
fn search_path() -> OsString {
    if let Some(path) = env::var_os("NATBPF_PATH") {
        return path;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    env::join_paths(folders).unwrap_or(path)
}

fn locate(program: &OsStr, path: &OsStr) -> PathBuf {
    which::which_in(program, Some(path), ".").unwrap_or_else(|_| program.into())
}

fn missing(command: &Command) -> anyhow::Error {
    let program = command.get_program().to_string_lossy();
    match listed(&program) {
        Some(found) => anyhow!("`{program}` is needed and not installed: apt-get install {}", found.package),
        None => anyhow!("`{program}` is needed and is not there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "`true` is not installed for Test")]
    fn what_no_set_up_installs_is_not_started() {
        let _ = Cmd::new("true");
    }

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        #[expect(clippy::disallowed_methods, reason = "it is not started")]
        let said = missing(&Command::new("ping")).to_string();
        assert_eq!(said, "`ping` is needed and not installed: apt-get install iputils-ping");
    }
}
