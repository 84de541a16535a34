//! The benchmarks, as `cargo xtask bench` runs them.

use std::process::ExitCode;

use clap::Parser as _;
use lab::bench::{self, Options};
use lab::process::interrupt;

fn main() -> ExitCode {
    interrupt::exit_status(bench::run(&Options::parse()))
}
