//! Random numbers from the kernel.

use std::io;

use anyhow::{Context as _, Result};

pub fn secret() -> Result<[u64; 2]> {
    let bytes = random::<16>()?;
    let (low, high) = bytes.split_at(8);
    // Never zero, which says that there is none yet.
    Ok([u64::from_ne_bytes(low.try_into()?) | 1, u64::from_ne_bytes(high.try_into()?)])
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
