//! Layers, the width of comments, formatting, clippy and documentation.

use std::process::Command;

use anyhow::Result;

use crate::{
    command::{cargo, run, show},
    folders::{release_folder, workspace},
    layers,
    setup::{self, Need},
    widths,
};

/// Packages for the BPF target: the product's programs, and those of tests and benchmarks.
const BPF_PACKAGES: [&str; 2] = ["natbpf-ebpf", "natbpf-gear-ebpf"];

/// The flags that they are built with in natbpf/build/ebpf.rs.
const BPF_RUSTFLAGS: &str = "-Ctarget-cpu=v3 -Cdebuginfo=2 -Clink-arg=--btf";

pub fn run_all() -> Result<()> {
    // First, because they take a second and need no tool.
    layers::check(workspace())?;
    widths::check(workspace())?;
    setup::ensure(Need::Lint)?;
    for mut step in [format(), clippy(), bpf_clippy()?, documentation()] {
        println!("lint: {}", show(&step));
        run(&mut step)?;
    }
    Ok(())
}

fn format() -> Command {
    cargo(["fmt", "--all", "--check"])
}

/// By the profile of everything else, which shares macros and build scripts with it.
fn clippy() -> Command {
    let mut clippy = cargo(["clippy", "--release", "--workspace", "--all-targets"]);
    for package in BPF_PACKAGES {
        clippy.args(["--exclude", package]);
    }
    clippy.args(["--", "-D", "warnings"]).env("NATBPF_EBPF", "stub");
    clippy
}

/// In a target folder of its own: its flags differ from those of the host's crates.
fn bpf_clippy() -> Result<Command> {
    let target_folder = release_folder()?.with_file_name("bpf-lint");
    let mut clippy = cargo(["clippy", "--release", "--bins"]);
    for package in BPF_PACKAGES {
        clippy.args(["--package", package]);
    }
    clippy
        .args(["-Z", "build-std=core", "--target", "bpfel-unknown-none", "--target-dir"])
        .arg(target_folder)
        .args(["--", "-D", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", BPF_RUSTFLAGS);
    Ok(clippy)
}

fn documentation() -> Command {
    let mut doc =
        cargo(["doc", "--release", "--no-deps", "--package", "natbpf-common", "--package", "natbpf"]);
    doc.env("RUSTDOCFLAGS", "-D warnings").env("NATBPF_EBPF", "stub");
    doc
}
