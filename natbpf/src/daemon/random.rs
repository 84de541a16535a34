//! Random numbers from the kernel.

use std::io;

use anyhow::{Context as _, Result};

pub fn secret() -> Result<[u64; 2]> {
    let [low, high]: [u64; 2] = zerocopy::transmute!(random::<16>()?);
    // Never zero, which says that there is none yet.
    Ok([low | 1, high])
}

pub fn random<const LENGTH: usize>() -> Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    // SAFETY: the buffer is as long as said.
    let length = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), LENGTH, 0) };
    if length != LENGTH as isize {
        return Err(io::Error::last_os_error()).context("cannot get random bytes");
    }
    Ok(bytes)
}
