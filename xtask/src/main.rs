//! Developer commands, run as `cargo xtask COMMAND`.

mod boot;
mod command;
#[cfg(test)]
mod docs;
mod files;
mod folders;
mod fuzz;
mod hosts;
mod layers;
mod lint;
mod products;
mod setup;
mod test;
mod vm;
mod widths;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum, builder::PossibleValuesParser};

use setup::Need;

/// Set up, build, run, test and measure natbpf.
///
/// Every command first installs what it needs and is missing, and says so; nothing is printed and no time is
/// lost when all is there.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what is missing: rust-src, bpf-linker, the tools that labs and tests call
    Setup {
        /// Only what this command needs; without it, what all of them need
        #[arg(long = "for", value_name = "COMMAND")]
        purpose: Option<Purpose>,
    },
    /// Build the BPF object and the binaries in release mode and print where they are
    Build,
    /// Run the lab on this machine; with arguments, run natbpf with them
    ///
    /// The lab builds instances, a gateway and an outside world in network namespaces, moves ping, TCP and
    /// UDP through natbpf, prints what happened and leaves nothing behind. Its second part is `natbpf accelerate` on a
    /// node of a cloud, with nine devices between instance and outside; `cargo xtask run -- accelerate` is that alone,
    /// and `cargo xtask run -- accelerate --help` shows its options.
    ///
    /// With other arguments natbpf itself is built and run on this host, so also with `accelerate` and edges. All of
    /// it runs as root, through sudo where necessary; the exit status is theirs.
    #[command(override_usage = "cargo xtask run [-- <ARGS>...]")]
    Run {
        /// Arguments of natbpf, such as `masquerade -o eth0 -s 10.0.0.0/24`
        #[arg(trailing_var_arg = true, value_name = "ARGS")]
        args: Vec<OsString>,
    },
    /// Run the test suite, or parts of it
    ///
    /// All parts but `unit` are run as root, through sudo where necessary. The first part that fails ends the
    /// run.
    Test {
        /// The parts to run, in this order; without any, all of them
        #[arg(value_parser = known_parts())]
        parts: Vec<String>,
        /// Arguments of the test programs, such as a part of a test's name or --test-threads=4
        #[arg(last = true, value_name = "ARGS")]
        args: Vec<OsString>,
    },
    /// Check layers, the width of comments, formatting, clippy (user space and BPF) and the documentation; a
    /// warning is an error
    Lint,
    /// Run the conformance table beside iptables, as root, and write docs/conformance.md
    ///
    /// Every row is a statement of an RFC, or of what users of MASQUERADE rely on, with its test. With arguments
    /// that choose rows nothing is written.
    #[command(override_usage = "cargo xtask conformance [-- <ARGS>...]")]
    Conformance {
        /// Arguments of the table, such as `--section U`; see `cargo xtask conformance -- --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<OsString>,
    },
    /// Fuzz the packet code, then send random packets through the loaded object, as root
    ///
    /// The packet code runs on this host, under libFuzzer; what it finds is kept in fuzz/artifacts. The object gets
    /// random and damaged packets of every kind. It prints what was tried; a failure says how to see it again.
    Fuzz(fuzz::Options),
    /// Boot Debian's kernels 6.1, 6.12 and the newest one in virtual machines and test natbpf there
    ///
    /// Kernels are fetched as Debian packages into target/vm, and QEMU emulates the processor, so it needs no
    /// root and changes nothing on this machine. On each kernel: every program of the object is loaded, the
    /// lab is run, then the tests of the loaded object and end-to-end tests. It prints a line for each step
    /// and a table; logs are in target/vm/KERNEL.
    ///
    /// With a command, that is run in a virtual machine instead; output and exit status are its own: `cargo
    /// xtask vm -- bench --pktgen`, `cargo xtask vm --kernel 6.1 -- object udp`, `cargo xtask vm -- sh -c
    /// 'lab; dmesg'`. Times mean nothing there.
    #[command(override_usage = "cargo xtask vm [OPTIONS] [-- <COMMAND> [<ARGS>...]]")]
    Vm(vm::Options),
    /// Build hosts of real platforms (Docker, podman, libvirt, Neutron, Kubernetes …) and run `natbpf accelerate`
    /// there, as root
    ///
    /// Each is made of Debian's packages, in namespaces, with the platform's own daemons and rules; a root file system
    /// with the first four is in target/hosts, and those are not installed on this machine. What works is compared
    /// before, with and after natbpf, which is started without configuration. Nothing of a host stays behind.
    #[command(override_usage = "cargo xtask hosts [-- <ARGS>...]")]
    Hosts {
        /// Hosts, and options of the program; see `cargo xtask hosts -- --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<OsString>,
    },
    /// Measure natbpf beside iptables, nft, plain forwarding and bare redirects, as root
    ///
    /// `bench -- --quick` takes three minutes or so, `bench -- --gate` tells whether a program of the
    /// object has become more costly, and `bench -- --pktgen` drives the kernel's own packet generator.
    Bench {
        /// Arguments of the benchmark; see `cargo xtask bench -- --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<OsString>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Purpose {
    Run,
    Test,
    Lint,
    Fuzz,
    Vm,
    Hosts,
}

impl From<Purpose> for Need {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Run => Self::Run,
            Purpose::Test => Self::Test,
            Purpose::Lint => Self::Lint,
            Purpose::Fuzz => Self::Fuzz,
            Purpose::Vm => Self::Vm,
            Purpose::Hosts => Self::Hosts,
        }
    }
}

fn main() -> ExitCode {
    match start() {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<ExitCode> {
    match Cli::parse().task {
        Task::Setup { purpose } => setup::ensure_and_say(purpose.map_or(Need::All, Need::from))?,
        Task::Build => products::build_and_show()?,
        Task::Run { args } if is_for_the_lab(&args) => return products::exec_lab(&args),
        Task::Run { args } => return products::exec_natbpf(&args),
        Task::Test { parts, args } => return test::run(&parts, &args),
        Task::Lint => lint::run_all()?,
        Task::Fuzz(options) => return fuzz::run(&options),
        Task::Vm(options) => return vm::run(&options),
        Task::Hosts { args } => return hosts::run(&args),
        Task::Conformance { args } => return products::exec_conformance(&args),
        Task::Bench { args } => return hosts::bench(&args),
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether arguments of `run` are for the lab: none at all, or `accelerate` without any edge or option of natbpf.
fn is_for_the_lab(args: &[OsString]) -> bool {
    const OPTIONS: [&str; 5] = ["--keep", "--packets", "--rounds", "--help", "-h"];
    let is_option = |arg: &OsString| {
        let arg = arg.to_string_lossy();
        OPTIONS.contains(&arg.split('=').next().unwrap_or_default())
    };
    match args {
        [] => true,
        [part, options @ ..] => part == "accelerate" && options.first().is_none_or(is_option),
    }
}

/// The parts that there are, for help and for refusing others.
fn known_parts() -> PossibleValuesParser {
    // What keeps them from being listed is reported when the tests are to run.
    PossibleValuesParser::new(test::parts().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_of_the_lab_is_not_taken_for_ours() {
        let Task::Run { args } = Cli::parse_from(["xtask", "run", "--", "accelerate", "--help"]).task else {
            panic!("not a run")
        };
        assert_eq!(args, ["accelerate", "--help"]);
    }

    #[test]
    fn options_of_natbpf_are_not_taken_for_ours() {
        let line = ["xtask", "run", "--", "--netns", "gw", "status", "--json"];
        let Task::Run { args } = Cli::parse_from(line).task else { panic!("not a run") };
        assert_eq!(args, ["--netns", "gw", "status", "--json"]);
    }

    #[test]
    fn accelerate_without_edges_is_the_lab() {
        let is_for_the_lab = |line: &str| {
            let args: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            is_for_the_lab(&args)
        };
        for lab in
            ["", "accelerate", "accelerate --help", "accelerate --packets 5000", "accelerate --rounds=1"]
        {
            assert!(is_for_the_lab(lab), "{lab}");
        }
        for natbpf in
            ["status", "--netns gw accelerate", "accelerate eth0", "accelerate --stay", "masquerade --help"]
        {
            assert!(!is_for_the_lab(natbpf), "{natbpf}");
        }
    }

    #[test]
    fn parts_and_arguments_of_a_test_are_told_apart() {
        let line = ["xtask", "test", "unit", "unit", "--", "udp", "--nocapture"];
        let Task::Test { parts, args } = Cli::parse_from(line).task else { panic!("not a test") };
        assert_eq!(parts, ["unit", "unit"]);
        assert_eq!(args, ["udp", "--nocapture"]);
    }

    #[test]
    fn part_that_does_not_exist_is_refused() {
        assert!(Cli::try_parse_from(["xtask", "test", "no-such-part"]).is_err());
    }
}
