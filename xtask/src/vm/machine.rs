//! A virtual machine: QEMU without hardware support, without a network, with a console and two ports for output.

use std::{
    fs::{self, File},
    io::{Read as _, Write},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::command::command;

/// The names of the files in the folder of logs.
pub const CONSOLE: &str = "console";
pub const STDOUT: &str = "stdout";
pub const STDERR: &str = "stderr";

const MEMORY: &str = "3072";
const LOOK: Duration = Duration::from_millis(50);

/// How time passes inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// As outside, with two processors.
    Real,
    /// By instructions, and idle time is skipped: what waits does not take long, and what is slow does not time out.
    /// There is one processor, and the machine seems to have run for hours.
    Skipping,
}

#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    pub kernel: &'a Path,
    pub archive: &'a Path,
    pub logs: &'a Path,
    pub clock: Clock,
}

impl Machine<'_> {
    /// Runs it to its end. `look` is called again and again, and once more at the end.
    pub fn run(&self, limit: Duration, mut look: impl FnMut() -> Result<()>) -> Result<()> {
        let mut qemu = Killed(self.start()?);
        let start = Instant::now();
        let status = loop {
            look()?;
            if let Some(status) = qemu.0.try_wait().context("cannot wait for QEMU")? {
                break status;
            }
            if start.elapsed() > limit {
                bail!(
                    "not done within {} s: --timeout allows more; what came until then is in {}",
                    limit.as_secs(),
                    self.logs.display()
                );
            }
            thread::sleep(LOOK);
        };
        look()?;
        let mut said = String::new();
        if let Some(mut stderr) = qemu.0.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        ensure!(status.success(), "QEMU ended with {status}: {said}");
        Ok(())
    }

    fn start(&self) -> Result<Child> {
        for name in [CONSOLE, STDOUT, STDERR] {
            let path = self.logs.join(name);
            fs::write(&path, "").with_context(|| format!("cannot write {}", path.display()))?;
        }
        let mut qemu = self.command();
        qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        qemu.spawn().context("cannot start qemu-system-x86_64: `cargo xtask setup --for vm` installs it")
    }

    fn command(&self) -> Command {
        let mut qemu = command("qemu-system-x86_64");
        // Relative names, for a comma in a folder's name would end the option.
        qemu.current_dir(self.logs);
        qemu.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-nic",
            "none",
            "-m",
            MEMORY,
        ]);
        qemu.args(["-cpu", "max"]).args(match self.clock {
            Clock::Real => ["-accel", "tcg,thread=multi", "-smp", "2"].as_slice(),
            Clock::Skipping => {
                ["-accel", "tcg,thread=single", "-smp", "1", "-icount", "shift=1,sleep=off"].as_slice()
            }
        });
        qemu.arg("-serial").arg(format!("file:{CONSOLE}")).args(["-device", "virtio-serial-pci"]);
        for name in [STDOUT, STDERR] {
            qemu.arg("-chardev").arg(format!("file,id={name},path={name}"));
            qemu.arg("-device").arg(format!("virtserialport,chardev={name},name={name}"));
        }
        let aged = if self.clock == Clock::Skipping { " natbpf.aged" } else { "" };
        qemu.arg("-kernel").arg(self.kernel).arg("-initrd").arg(self.archive);
        // 5: what the kernel warns of has to be on the console.
        qemu.arg("-append").arg(format!("console=ttyS0 panic=-1 loglevel=5 net.ifnames=0{aged}"));
        qemu
    }
}

/// Does not outlive us.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Reads what is added to a file.
#[derive(Debug)]
pub struct Follower {
    file: Option<File>,
    path: std::path::PathBuf,
}

impl Follower {
    pub fn new(path: std::path::PathBuf) -> Self {
        Self { file: None, path }
    }

    /// What has come since the last time.
    pub fn read(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        if let Some(file) = &mut self.file {
            file.read_to_end(&mut bytes).with_context(|| format!("cannot read {}", self.path.display()))?;
        }
        Ok(bytes)
    }

    pub fn copy_to(&mut self, out: &mut impl Write) -> Result<()> {
        out.write_all(&self.read()?)?;
        Ok(out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(clock: Clock) -> String {
        let at = |name| Path::new(name);
        let machine = Machine { kernel: at("/vmlinuz"), archive: at("/initramfs"), logs: at("/logs"), clock };
        crate::command::show(&machine.command())
    }

    #[test]
    fn machine_has_no_network_and_two_ports() {
        let line = shown(Clock::Real);
        assert!(line.contains("-nic none"));
        assert!(line.contains("thread=multi -smp 2"));
        assert!(line.contains("chardev=stdout,name=stdout") && line.contains("chardev=stderr,name=stderr"));
        assert!(!line.contains("natbpf.aged"));
    }

    #[test]
    fn machine_that_skips_idle_time_seems_old() {
        let line = shown(Clock::Skipping);
        assert!(line.contains("-icount shift=1,sleep=off"));
        assert!(line.contains("natbpf.aged"));
    }
}
