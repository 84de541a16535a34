//! Limits of this process.

use std::io;

use anyhow::{Context, Result};

/// Allows `count` open files, for a test with a socket a flow.
///
/// # Errors
/// When the hard limit is lower and this process may not raise it (CAP_SYS_RESOURCE).
pub fn raise_file_limit(count: u64) -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes the rlimit it is given.
    let mut done = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if done == 0 && limit.rlim_cur < count {
        limit.rlim_cur = count;
        limit.rlim_max = limit.rlim_max.max(count);
        // SAFETY: reads the rlimit it is given.
        done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
    if done < 0 {
        let error = io::Error::last_os_error();
        return Err(error)
            .with_context(|| format!("cannot allow {count} open files: raise it with `ulimit -Hn`"));
    }
    Ok(())
}
