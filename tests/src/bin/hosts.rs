//! Hosts of real platforms, as `cargo xtask hosts` builds them.

use std::process::ExitCode;

use clap::Parser as _;
use lab::hosts::{self, Options};
use lab::process::interrupt;

fn main() -> ExitCode {
    interrupt::exit_status(hosts::run(&Options::parse()))
}
