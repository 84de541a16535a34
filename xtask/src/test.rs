//! The test suite, part by part.

use std::{
    ffi::OsString,
    fs, io,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context as _, Result};

use crate::{
    command::{cargo, command, is_root, output_of, run as run_command, show},
    folders::workspace,
    products::{self, product},
    setup::{
        self, Need,
        tools::{Purpose, path_for},
    },
};

/// Tests that need neither root nor network namespaces.
const UNIT: &str = "unit";
/// Tests of the loaded object; each test keeps to itself, so they run side by side.
const OBJECT: &str = "object";

/// The parts of the test suite: the unit tests, and each file in tests/tests.
pub fn parts() -> Result<Vec<String>> {
    let folder = workspace().join("tests/tests");
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![UNIT.into()]),
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    let entries = entries.with_context(|| format!("cannot list {}", folder.display()))?;
    let files = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(parts_of(files))
}

/// Unit tests first, then the object: what fails early and cheaply explains what fails late.
fn parts_of(files: impl Iterator<Item = String>) -> Vec<String> {
    let mut integration: Vec<_> =
        files.filter_map(|file| Some(file.strip_suffix(".rs")?.to_owned())).collect();
    integration.sort_by_key(|part| (part != OBJECT, part.clone()));
    [UNIT.into()].into_iter().chain(integration).collect()
}

/// Runs `chosen` parts, or all, until one fails; `args` go to the test programs.
pub fn run(chosen: &[String], args: &[OsString]) -> Result<ExitCode> {
    let parts = if chosen.is_empty() { parts()? } else { chosen.to_vec() };
    setup::ensure(if parts.iter().all(|part| part == UNIT) { Need::Build } else { Need::Test })?;
    let mut lines = Vec::new();
    let mut failed = false;
    for part in &parts {
        if failed {
            lines.push(format!("{part:<12} not run"));
            continue;
        }
        let start = Instant::now();
        let outcome = run_part(part, args);
        let seconds = start.elapsed().as_secs_f64();
        failed = outcome.is_err();
        if let Err(error) = outcome {
            eprintln!("test: {error:#}");
        }
        lines.push(format!("{part:<12} {:<6} {seconds:7.1} s", if failed { "FAILED" } else { "ok" }));
    }
    for line in lines {
        println!("test: {line}");
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn run_part(part: &str, args: &[OsString]) -> Result<()> {
    let mut steps =
        if part == UNIT { unit(args).into() } else { vec![products::build(), integration(part, args)?] };
    for step in &mut steps {
        println!("test: {}", show(step));
        run_command(step)?;
    }
    Ok(())
}

fn unit(args: &[OsString]) -> [Command; 2] {
    let mut pure = cargo(["test", "--release"]);
    for package in ["natbpf-common", "natbpf", "natbpf-fuzz", "natbpf-gear", "xtask"] {
        pure.args(["--package", package]);
    }
    pure.arg("--").args(args);
    // The labs' own helpers, without the integration tests beside them.
    let mut lab = cargo(["test", "--release", "--package", "natbpf-tests", "--lib", "--bin", "lab", "--"]);
    lab.args(args);
    [pure, lab]
}

/// How many of a part's tests run at a time; `None`: as many as there are processors.
fn threads(part: &str) -> Option<u32> {
    match part {
        OBJECT => None,
        // Each has a lab of its own, and mostly waits.
        "e2e" | "doctor" | "life" | "why" | "top" | "trace" => Some(3),
        // They measure load.
        _ => Some(1),
    }
}

/// One file of integration tests, run as root with the natbpf that was built.
fn integration(part: &str, args: &[OsString]) -> Result<Command> {
    let mut test = cargo(["test", "--release", "--package", "natbpf-tests", "--test", part, "--"]);
    let chosen = args.iter().any(|arg| arg.to_string_lossy().starts_with("--test-threads"));
    if let (Some(threads), false) = (threads(part), chosen) {
        test.arg(format!("--test-threads={threads}"));
    }
    test.args(args).env("NATBPF_BIN", product("natbpf")?).env("NATBPF_PATH", path_for(Purpose::Test)?);
    if !is_root()? {
        let rustc = output_of(command("rustc").arg("-vV").current_dir(workspace()))?;
        let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
        test.env(runner_variable(host.context("`rustc -vV` does not name the host")?), "sudo -E");
    }
    Ok(test)
}

/// The variable by which cargo is told how to start programs for `target`.
fn runner_variable(target: &str) -> String {
    format!("CARGO_TARGET_{}_RUNNER", target.to_uppercase().replace(['-', '.'], "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_run_from_cheap_to_expensive() {
        let files = ["life.rs", "e2e.rs", "common", "object.rs", "README.md"].map(String::from);
        assert_eq!(parts_of(files.into_iter()), ["unit", "object", "e2e", "life"]);
    }

    #[test]
    fn runner_variable_is_spelled_as_cargo_reads_it() {
        assert_eq!(
            runner_variable("x86_64-unknown-linux-gnu"),
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER"
        );
    }

    #[test]
    fn labs_run_a_few_at_a_time_unless_asked_otherwise() {
        let threads = |part: &str, args: &[&str]| -> Vec<String> {
            let args: Vec<_> = args.iter().map(OsString::from).collect();
            let test = integration(part, &args).unwrap();
            let args = test.get_args().map(|arg| arg.to_string_lossy().into_owned());
            args.filter(|arg| arg.starts_with("--test-threads")).collect()
        };
        assert_eq!(threads("e2e", &["udp"]), ["--test-threads=3"]);
        assert_eq!(threads("burst", &[]), ["--test-threads=1"]);
        assert_eq!(threads("e2e", &["--test-threads=4"]), ["--test-threads=4"]);
        assert!(threads(OBJECT, &[]).is_empty());
    }
}
