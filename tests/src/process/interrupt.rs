//! Ctrl-C without a mess: the first one is a flag that every wait of the lab looks at, the second one kills.

use std::fmt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static PENDING: AtomicBool = AtomicBool::new(false);

/// What [`check`] returns once a signal has come; `anyhow::Error::is` finds it below any context.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// The exit status of a program that came to an end: 0 where all is well, 1 where it is not, 130 after a signal. An
/// error is printed.
pub fn exit_status(outcome: Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.is::<Interrupted>() => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

extern "C" fn note(_signal: libc::c_int) {
    PENDING.store(true, Ordering::Relaxed);
}

/// Catches the first SIGINT and the first SIGTERM.
pub fn install() -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESETHAND, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler.
        unsafe { sigaction(signal, &action) }.with_context(|| format!("cannot catch {signal}"))?;
    }
    Ok(())
}

/// # Errors
/// [`Interrupted`] after a signal.
pub fn check() -> Result<()> {
    if PENDING.load(Ordering::Relaxed) { Err(Interrupted.into()) } else { Ok(()) }
}
