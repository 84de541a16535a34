//! What both parts of the lab do: steps that work or fail, and waiting for somebody who looks around.

use std::io;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail, ensure};
use lab::process::interrupt::{self, Interrupted};
use lab::{Natbpf, bpffs};

pub const REMOVED: &str = "The namespaces and all in them are removed again.";

#[derive(Default)]
pub struct Steps {
    done: u32,
    failed: u32,
}

impl Steps {
    /// Runs one step and prints what it found, or why it failed; only a Ctrl-C ends the lab.
    pub fn step(&mut self, name: &str, work: impl FnOnce() -> Result<String>) -> Result<()> {
        interrupt::check()?;
        self.done += 1;
        match work() {
            Ok(found) => println!("  {name:<34} ok      {found}"),
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => {
                self.failed += 1;
                println!("  {name:<34} FAILED  {error:#}");
            }
        }
        Ok(())
    }

    /// Ends natbpf, of which nothing is left.
    pub fn stop(&mut self, natbpf: Natbpf) -> Result<()> {
        println!();
        let output = natbpf.stop()?;
        self.step("natbpf stopped", || {
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{}: {}", output.status, said.trim());
            let pins = bpffs().join("natbpf");
            ensure!(!pins.exists(), "it left {}", pins.display());
            Ok("detached, no pin left".to_owned())
        })
    }

    /// After the last one.
    pub fn all_worked(&self) -> Result<()> {
        ensure!(self.failed == 0, "{} of {} steps failed", self.failed, self.done);
        Ok(())
    }
}

pub fn gigabits(bits_per_second: f64) -> String {
    format!("{:.2} Gbit/s", bits_per_second / 1e9)
}

/// Begins a command that looks into the lab from outside.
pub fn enter() -> String {
    format!("nsenter --target {} --mount", std::process::id())
}

/// Names the way into each namespace.
pub fn say_how_to_look(namespaces: &[&str]) {
    println!("\nThe lab stays until you press Enter. As root, from another terminal:");
    for name in namespaces {
        println!("  {} nsenter --net=/run/netns/{name} bash", enter());
    }
}

/// Not a plain read: std goes on reading after a Ctrl-C.
pub fn wait_for_enter() -> Result<()> {
    let stdin = io::stdin();
    loop {
        interrupt::check()?;
        let mut poll = libc::pollfd { fd: stdin.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, as said.
        match unsafe { libc::poll(&raw mut poll, 1, 200) } {
            0 => {}
            1.. => {
                stdin.read_line(&mut String::new()).context("cannot read standard input")?;
                return Ok(());
            }
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => bail!("cannot wait for Enter: {}", io::Error::last_os_error()),
        }
    }
}
