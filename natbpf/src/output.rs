//! Standard output and standard error, which may be a pipe whose reader has gone or a file on a disk that is
//! full. (`println!` and `eprintln!` panic there.)

use std::{
    fmt,
    io::{self, Write},
};

use nix::sys::signal::{SigHandler, Signal, signal};

mod queue;

pub use queue::Queue;

/// Why something could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The reader has had enough, as in `natbpf flows list | head`: no failure.
    #[error("nobody reads the output any more")]
    Closed,
    #[error("cannot write the output: {0}")]
    Failed(io::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(error),
        }
    }
}

/// A file that has grown to its limit (`ulimit -f`) is an error like others, and does not end the program.
pub fn outlive_limits() {
    // SAFETY: nothing is installed that could be called.
    let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
}

/// Writes a line to standard output, at once.
pub fn print(line: impl fmt::Display) -> Result<(), OutputError> {
    write_line(io::stdout().lock(), line)
}

/// Writes a line to standard error, at once.
pub fn complain(line: impl fmt::Display) -> Result<(), OutputError> {
    write_line(io::stderr().lock(), line)
}

/// In one piece, so that lines of several programs do not mix.
fn write_line(mut to: impl Write, line: impl fmt::Display) -> Result<(), OutputError> {
    to.write_all(format!("{line}\n").as_bytes())?;
    to.flush()?;
    Ok(())
}

/// Whether an error says that nobody reads any more.
pub fn is_closed(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(OutputError::Closed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Full(io::ErrorKind);

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_told_from_a_full_disk() {
        let printed = |kind| anyhow::Error::from(write_line(Full(kind), "a line").unwrap_err());
        assert!(is_closed(&printed(io::ErrorKind::BrokenPipe)));
        let full = printed(io::ErrorKind::StorageFull);
        assert!(!is_closed(&full) && full.to_string().starts_with("cannot write the output: "), "{full}");
        let other = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(!is_closed(&other), "another pipe than the output's");
    }
}
