//! The screen, on a pseudo-terminal.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::gateway::natbpf::Cli;
use lab::process::Process;
use lab::{Natbpf, Node, wait_until};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::write;

const SOON: Duration = Duration::from_secs(10);

/// What a terminal is told to begin and to end a screen.
const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

/// `natbpf top` on a terminal of its own.
struct Screen {
    top: Process,
    keyboard: OwnedFd,
    terminal: OwnedFd,
    written: Arc<Mutex<String>>,
}

impl Screen {
    fn start(cli: &Cli) -> Result<Self> {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).context("there is no pseudo-terminal")?;
        let (input, output) = (pty.slave.try_clone()?, pty.slave.try_clone()?);
        let top = cli.cmd().args(["top", "-n", "0.2"]).stdin(input).spawn_into(output)?;
        let written = Arc::new(Mutex::new(String::new()));
        let mut reader = File::from(pty.master.try_clone()?);
        thread::spawn({
            let written = written.clone();
            move || {
                let mut buffer = [0; 4096];
                // At its end it fails.
                while let Ok(length @ 1..) = reader.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    written.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
                }
            }
        });
        Ok(Self { top, keyboard: pty.master, terminal: pty.slave, written })
    }

    fn press(&self, keys: &str) -> Result<()> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clear();
        write(&self.keyboard, keys.as_bytes())?;
        Ok(())
    }

    fn shows(&self, text: &str) -> Result<()> {
        let written = || self.written.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let shown = wait_until(&format!("{text:?} is shown"), SOON, || Ok(written().contains(text)));
        shown.with_context(|| format!("{:?} {}", written(), self.top.stderr_text()))
    }

    /// Lines are edited and echoed, as before a screen was there.
    fn is_as_before(&self) -> Result<bool> {
        let flags = tcgetattr(&self.terminal)?.local_flags;
        Ok(flags.contains(LocalFlags::ICANON | LocalFlags::ECHO))
    }

    /// It ends well, and the terminal is as before.
    fn has_ended(mut self) -> Result<()> {
        self.shows(LEAVE)?;
        let status = self.top.wait(SOON)?;
        ensure!(status.success(), "{status} {}", self.top.stderr_text());
        ensure!(self.is_as_before()?, "the terminal is not as it was");
        Ok(())
    }
}

fn start(node: &Node) -> Result<Natbpf> {
    node.natbpf_cli()?.start(["accelerate", "tap0", "eth0"])
}

#[test]
fn keys_change_the_view_and_end_it() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node)?;
    let screen = Screen::start(natbpf.cli())?;
    screen.shows(ENTER)?;
    screen.shows("tap0")?;
    ensure!(!screen.is_as_before()?, "keys would wait for the end of a line");
    screen.press("2")?;
    screen.shows("no instances")?;
    screen.press("?")?;
    screen.shows("Ctrl-C")?;
    // Of what is drawn anew alone changes are written, so little of it stands together.
    screen.press("1/n")?;
    screen.shows("\"n\"")?;
    screen.press("\rq")?;
    screen.has_ended()
}

#[test]
fn a_signal_puts_the_terminal_back() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node)?;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let screen = Screen::start(natbpf.cli())?;
        screen.shows("tap0")?;
        screen.top.signal(signal)?;
        screen.has_ended()?;
    }
    Ok(())
}

/// It waits for natbpf, and begins anew with the next one.
#[test]
fn natbpf_ends_and_comes_back() -> Result<()> {
    let node = Node::new()?;
    let natbpf = start(&node)?;
    let cli = natbpf.cli().clone();
    let screen = Screen::start(&cli)?;
    screen.shows("tap0")?;
    natbpf.stop()?;
    screen.shows("not attached")?;
    screen.press("4")?;
    let natbpf = start(&node)?;
    screen.shows("repeated")?;
    screen.press("q")?;
    screen.has_ended()?;
    drop(natbpf);
    Ok(())
}
