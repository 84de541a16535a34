//! The benchmarks, as `cargo xtask bench` runs them.

use std::process::ExitCode;

use clap::Parser as _;
use lab::bench::{self, Options};
use lab::process::interrupt::Interrupted;

fn main() -> ExitCode {
    match bench::run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.is::<Interrupted>() => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
