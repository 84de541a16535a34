//! Brings about what building, running and testing need, and only what is missing.

pub mod announce;
mod apt;
mod bpf_linker;
mod cargo_fuzz;
mod components;
pub mod tools;

use anyhow::Result;

use apt::Apt;
use tools::Purpose;

/// What the machine has to be fit for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Building everything, BPF included.
    Build,
    /// The lab.
    Run,
    /// Tests and benchmarks.
    Test,
    Lint,
    /// Virtual machines with the tests in them.
    Vm,
    /// Hosts of real platforms, and what makes their root.
    Hosts,
    /// Tests, and cargo-fuzz.
    Fuzz,
    All,
}

/// Installs what `need` asks for and is missing, with one line a step on stderr.
pub fn ensure(need: Need) -> Result<()> {
    components::ensure(match need {
        Need::Build | Need::Run | Need::Test | Need::Vm | Need::Hosts | Need::Fuzz => components::BUILD,
        Need::Lint | Need::All => components::LINT,
    })?;
    let mut apt = Apt::default();
    tools::ensure(purposes(need), &mut apt)?;
    if need != Need::Lint {
        bpf_linker::ensure(&mut apt)?;
    }
    if matches!(need, Need::Fuzz | Need::All) {
        cargo_fuzz::ensure()?;
    }
    Ok(())
}

/// Whose programs are installed.
fn purposes(need: Need) -> &'static [Purpose] {
    match need {
        Need::Build | Need::Lint => &[],
        Need::Run => &[Purpose::Lab],
        Need::Test => &[Purpose::Lab, Purpose::Test],
        Need::Vm => &[Purpose::Lab, Purpose::Test, Purpose::Vm],
        Need::Hosts => &[Purpose::Lab, Purpose::Test, Purpose::Hosts, Purpose::Vm],
        Need::Fuzz => &[Purpose::Lab, Purpose::Test, Purpose::Fuzz],
        Need::All => &[Purpose::Lab, Purpose::Test, Purpose::Fuzz, Purpose::Hosts, Purpose::Vm],
    }
}

/// As [`ensure`], and says that all is there at the end.
pub fn ensure_and_say(need: Need) -> Result<()> {
    ensure(need)?;
    eprintln!("setup: everything is there");
    Ok(())
}
