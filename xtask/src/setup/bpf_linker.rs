//! bpf-linker: links the BPF object from LLVM bitcode. Its LLVM has to be that of rustc, or it cannot read
//! the bitcode.

use std::{env, ffi::OsString, fmt, path::PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::{announce::announce, apt::Apt};
use crate::command::{cargo, command, find, run_aside};

const RELEASE: &str = "0.13";
/// The LLVM of the toolchain in rust-toolchain.toml.
const LLVM: &str = "22";
const PACKAGES: &[&str] = &["build-essential", "libpolly-22-dev", "libzstd-dev", "llvm-22-dev", "zlib1g-dev"];

pub fn ensure(apt: &mut Apt) -> Result<()> {
    let found = Linker::find();
    if found.as_ref().is_some_and(Linker::fits) {
        return Ok(());
    }
    let state = found.map_or("there is none".into(), |linker| format!("there is {linker}"));
    install(apt, &format!("links the BPF object; {state}; takes about a minute"))?;

    let found =
        Linker::find().context("bpf-linker is installed, but not on PATH: add cargo's bin folder to PATH")?;
    ensure!(
        found.fits(),
        "bpf-linker {RELEASE} with LLVM {LLVM} is installed, but PATH leads to {found}: put cargo's bin folder first on PATH"
    );
    Ok(())
}

fn install(apt: &mut Apt, why: &str) -> Result<()> {
    // Where LLVM 22 is elsewhere, a developer says so by the variable that the build of bpf-linker reads.
    let llvm = match env::var_os("LLVM_PREFIX") {
        Some(prefix) => prefix,
        None => {
            apt.install(PACKAGES, "to build bpf-linker")?;
            OsString::from("/usr/lib/llvm-22")
        }
    };
    announce(&format!("bpf-linker {RELEASE} with LLVM {LLVM}"), why);
    let version = format!("={RELEASE}.0");
    let feature = format!("llvm-{LLVM}");
    let mut install = cargo(["install", "bpf-linker", "--version", &version, "--locked"]);
    install.args(["--no-default-features", "--features", &feature]).env("LLVM_PREFIX", llvm);
    run_aside(&mut install).context(
        "cannot install bpf-linker: see cargo's message above; LLVM_PREFIX names the folder of LLVM 22",
    )
}

/// The bpf-linker that rustc would call.
#[derive(Debug, PartialEq, Eq)]
struct Linker {
    path: PathBuf,
    /// Empty where it does not say.
    version: String,
    /// Empty where it does not say.
    llvm: String,
}

impl Linker {
    fn find() -> Option<Self> {
        let path = find("bpf-linker")?;
        let printed = |args: &[&str]| {
            let output = command(&path).args(args).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
        };
        let version = word_after("bpf-linker", &printed(&["--version"]));
        // `--version` is silent about LLVM. LLVM answers when asked itself, and ends before a file is looked
        // at.
        let llvm = printed(&["--llvm-args=--version", "--output", "/dev/null/none", "/dev/null"]);
        let llvm = word_after("LLVM version", &llvm);
        Some(Self { path, version, llvm })
    }

    fn fits(&self) -> bool {
        is_release(&self.version, RELEASE) && is_release(&self.llvm, LLVM)
    }
}

impl fmt::Display for Linker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unknown = |text: &str| if text.is_empty() { "unknown" } else { text }.to_owned();
        let (version, llvm) = (or_unknown(&self.version), or_unknown(&self.llvm));
        write!(f, "{} of version {version} with LLVM {llvm}", self.path.display())
    }
}

/// Whether `version` is `release` or one of its patch releases.
fn is_release(version: &str, release: &str) -> bool {
    version.strip_prefix(release).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The word that follows `name`; empty where there is none.
fn word_after(name: &str, text: &str) -> String {
    let rest = text.split_once(name).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split_whitespace().next()).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_linker_prints() {
        assert_eq!(word_after("bpf-linker", "bpf-linker 0.13.0\n"), "0.13.0");
        assert_eq!(word_after("LLVM version", "Debian LLVM version 22.1.8\n  Optimized build.\n"), "22.1.8");
        assert_eq!(
            word_after("LLVM version", "LLVM (http://llvm.org/):\n  LLVM version 21.1.0-rc3\n"),
            "21.1.0-rc3"
        );
        assert_eq!(word_after("LLVM version", "error: unknown option\n"), "");
    }

    #[test]
    fn only_patch_releases_fit() {
        assert!(is_release("0.13.0", "0.13"));
        assert!(is_release("22.1.8", "22"));
        assert!(!is_release("0.130.0", "0.13"));
        assert!(!is_release("0.9.15", "0.13"));
        assert!(!is_release("21.1.8", "22"));
        assert!(!is_release("", "22"));
    }
}
