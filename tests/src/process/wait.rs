//! Waiting for what comes by itself.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::interrupt;

/// Waits until `check` is true.
///
/// # Errors
/// When it is not after `limit`, and when `check` fails.
pub fn wait_until(what: &str, limit: Duration, check: impl Fn() -> Result<bool>) -> Result<()> {
    if becomes_true(limit, check)? { Ok(()) } else { bail!("after {limit:?} still not true: {what}") }
}

/// Whether `check` is true before `limit` is over.
pub fn becomes_true(limit: Duration, check: impl Fn() -> Result<bool>) -> Result<bool> {
    let end = Instant::now() + limit;
    while !check()? {
        interrupt::check()?;
        if Instant::now() > end {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}
