//! Builds programs for the BPF target; the build scripts of `natbpf` and `tests` share it.
//!
//! `NATBPF_EBPF=stub` makes an empty object instead, so that user space can be checked without a BPF
//! toolchain.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// cpu v3 has the atomics that the flow table needs; debug information becomes the BTF that maps and
/// `bpftool` need.
const RUSTFLAGS: &[&str] = &["-Ctarget-cpu=v3", "-Cdebuginfo=2", "-Clink-arg=--btf"];

/// Of every package, besides its own sources.
const COMMON_INPUTS: [&str; 3] = ["Cargo.lock", "Cargo.toml", "rust-toolchain.toml"];

/// A package of BPF programs.
pub struct Package {
    pub name: &'static str,
    /// The folders of the workspace that it is made of: its own, and those of the members it depends on.
    pub folders: &'static [&'static str],
}

/// Puts the object of a binary of `package` into the build script's output folder, under its own name.
pub fn build(package: &Package, binary: &str) -> Result<()> {
    let out: PathBuf = env::var_os("OUT_DIR").context("this is a build script; run it by cargo")?.into();
    let object = out.join(binary);
    println!("cargo:rerun-if-env-changed=NATBPF_EBPF");
    if env::var_os("NATBPF_EBPF").is_some_and(|mode| mode == "stub") {
        return fs::write(&object, []).context("cannot write the stub");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("natbpf is a member of a workspace")?;
    for input in package.folders.iter().chain(&COMMON_INPUTS) {
        println!("cargo:rerun-if-changed={}", root.join(input).display());
    }
    // A target folder of its own: the outer cargo holds the lock of the usual one while this runs.
    let target = out.join("bpf-target");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["build", "--release", "--package", package.name, "--bin", binary])
        .args(["-Z", "build-std=core", "--target", "bpfel-unknown-none"])
        .arg("--target-dir")
        .arg(&target)
        // `-Z build-std` on a stable toolchain, for this build alone.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\u{1f}"));
    for variable in ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(variable);
    }
    let status = cargo.status().context("cannot run cargo")?;
    if !status.success() {
        bail!(
            "the BPF program {binary} could not be built; `cargo xtask setup` installs what it needs (rust-src, bpf-linker), \
             and NATBPF_EBPF=stub builds without it"
        );
    }
    fs::copy(target.join("bpfel-unknown-none/release").join(binary), &object)
        .with_context(|| format!("cannot copy the BPF program {binary}"))?;
    Ok(())
}
