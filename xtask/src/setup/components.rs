//! Components of the Rust toolchain. The toolchain itself is there: it built us.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::announce::announce;
use crate::{
    command::{command, find, output_of, run_aside},
    folders::workspace,
};

/// A component and a file below the toolchain's folder that is there when it is installed.
#[derive(Debug)]
pub struct Component {
    name: &'static str,
    file: &'static str,
    why: &'static str,
}

const RUST_SRC: Component = Component {
    name: "rust-src",
    file: "lib/rustlib/src/rust/library/core/Cargo.toml",
    why: "`core` is built for the BPF target",
};
const CLIPPY: Component = Component { name: "clippy", file: "bin/cargo-clippy", why: "for lint" };
const RUSTFMT: Component = Component { name: "rustfmt", file: "bin/rustfmt", why: "for lint" };

pub const BUILD: &[Component] = &[RUST_SRC];
pub const LINT: &[Component] = &[RUST_SRC, CLIPPY, RUSTFMT];

pub fn ensure(components: &[Component]) -> Result<()> {
    let sysroot = output_of(command("rustc").args(["--print", "sysroot"]).current_dir(workspace()))?;
    let sysroot = Path::new(sysroot.trim_end());
    for component in components {
        if !sysroot.join(component.file).exists() {
            install(component, sysroot)?;
        }
    }
    Ok(())
}

fn install(component: &Component, sysroot: &Path) -> Result<()> {
    let Component { name, file, why } = component;
    ensure!(
        find("rustup").is_some(),
        "{name} is missing from the Rust toolchain in {} and there is no rustup to add it: install rustup, or {name} \
         where this toolchain came from",
        sysroot.display()
    );
    announce(name, why);
    run_aside(command("rustup").args(["component", "add", name]).current_dir(workspace())).with_context(
        || format!("cannot add {name}; `rustup component add {name}` in this folder has to work"),
    )?;
    ensure!(
        sysroot.join(file).exists(),
        "rustup says that {name} is installed, but {file} is not in {}",
        sysroot.display()
    );
    Ok(())
}
