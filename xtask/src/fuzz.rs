//! Fuzzing: the packet code on the host, under libFuzzer, and the loaded object with random packets.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;

use crate::{
    command::{as_root, cargo, run as run_command, show},
    folders::release_folder,
    products::{self, product},
    setup::{
        self, Need,
        tools::{Purpose, path_for},
    },
};

/// The fuzz targets, in `fuzz/fuzz_targets`.
const TARGETS: [&str; 4] = ["headers", "headers6", "translate", "quote"];

/// Longer inputs show nothing that shorter ones do not, and take longer.
const LONGEST: u32 = 400;

/// Where nothing is said.
const SECONDS: u64 = 60;

#[derive(Args, Debug)]
pub struct Options {
    /// For so long each: every fuzz target, and the loaded object [default: 60]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,

    /// So many inputs to every fuzz target, and so many packets to the loaded object
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    packets: Option<u64>,

    /// Only the loaded object
    #[arg(long)]
    object: bool,

    /// Of the loaded object only natbpf's own NAT
    #[arg(long, requires = "object", conflicts_with = "repeat")]
    nat: bool,

    /// Of the loaded object only what is repeated from edge to edge
    #[arg(long, requires = "object")]
    repeat: bool,

    /// Where the random packets for the loaded object begin
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Threads that send packets to the loaded object, each to one of its own
    #[arg(long, value_name = "N")]
    threads: Option<u64>,
}

/// Runs the targets one after the other, then the object, until one finds something.
pub fn run(options: &Options) -> Result<ExitCode> {
    setup::ensure(if options.object { Need::Test } else { Need::Fuzz })?;
    if !options.object {
        for name in TARGETS {
            let mut target = target(name, options)?;
            println!("fuzz: {}", show(&target));
            run_command(&mut target)?;
        }
    }
    let mut build = products::build();
    run_command(&mut build)?;
    let mut object = as_root(product("fuzz")?)?;
    object.env("NATBPF_PATH", path_for(Purpose::Test)?);
    let (name, value) = limit(options);
    object.arg(format!("--{name}={value}"));
    for (name, value) in [("seed", options.seed), ("threads", options.threads)] {
        object.args(value.map(|value| format!("--{name}={value}")));
    }
    for (name, only) in [("--nat", options.nat), ("--repeat", options.repeat)] {
        object.args(only.then_some(name));
    }
    println!("fuzz: {}", show(&object));
    run_command(&mut object)?;
    Ok(ExitCode::SUCCESS)
}

/// How long, or how many.
fn limit(options: &Options) -> (&'static str, u64) {
    match options.packets {
        Some(packets) => ("packets", packets),
        None => ("seconds", options.seconds.unwrap_or(SECONDS)),
    }
}

fn target(name: &str, options: &Options) -> Result<Command> {
    // A target folder of its own: what is built with sanitizers is of no use to others.
    let folder = release_folder()?.with_file_name("fuzz");
    let mut target = cargo(["fuzz", "run", "--fuzz-dir", "fuzz", "--features", "libfuzzer", "--target-dir"]);
    target.arg(folder).args([name, "--", "-print_final_stats=1"]).arg(format!("-max_len={LONGEST}"));
    target.arg(match limit(options) {
        ("packets", count) => format!("-runs={count}"),
        (_, seconds) => format!("-max_total_time={seconds}"),
    });
    // Sanitizers and coverage are unstable.
    target.env("RUSTC_BOOTSTRAP", "1");
    Ok(target)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::folders::workspace;

    #[test]
    fn every_target_is_run() {
        let folder = workspace().join("fuzz/fuzz_targets");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut files: Vec<_> = files.map(|name| name.to_string_lossy().replace(".rs", "")).collect();
        let mut targets = TARGETS.map(String::from).to_vec();
        files.sort();
        targets.sort();
        assert_eq!(files, targets);
    }
}
