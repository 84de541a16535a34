//! cargo-fuzz: builds a fuzz target with libFuzzer and sanitizers, and runs it.

use anyhow::{Context as _, Result};

use super::announce::announce;
use crate::command::{cargo, find, run_aside};

const VERSION: &str = "0.13.2";

/// Any version will do: what is asked of it is old.
pub fn ensure() -> Result<()> {
    if find("cargo-fuzz").is_some() {
        return Ok(());
    }
    announce(&format!("cargo-fuzz {VERSION}"), "runs the fuzz targets; takes about a minute");
    let version = format!("={VERSION}");
    run_aside(&mut cargo(["install", "cargo-fuzz", "--version", &version, "--locked"]))
        .context("cannot install cargo-fuzz: see cargo's message above")?;
    find("cargo-fuzz")
        .map(drop)
        .context("cargo-fuzz is installed, but not on PATH: add cargo's bin folder to PATH")
}
