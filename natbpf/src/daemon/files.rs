//! How many files may be open: those of sockets in hundreds of network namespaces are more than a process may have
//! open by default.

use std::io;

/// As many as the hard limit lets it. natbpf does not need them where no namespace is passed.
pub fn raise_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes the rlimit it is given.
    let mut done = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if done == 0 && limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: reads the rlimit it is given.
        done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
    if done < 0 {
        tracing::debug!("cannot have more open files: {}", io::Error::last_os_error());
    }
}
