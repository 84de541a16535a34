//! The command line. Values are parsed here, once, into the types that the rest uses.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::values;

mod accelerate;
mod daemon;
mod doctor;
mod flows;
mod help;
mod masquerade;
mod packets;
mod paths;
#[cfg(test)]
mod tests;
mod top;
mod trace;
mod why;

pub use accelerate::AccelerateArgs;
pub use daemon::DaemonArgs;
pub use doctor::DoctorArgs;
pub use flows::{FilterArgs, FlowsAction, FlowsArgs, FlowsOutput};
pub use masquerade::MasqueradeArgs;
pub use packets::{EndsArgs, PacketArgs};
pub use paths::{PathsAction, PathsArgs};
pub use top::TopArgs;
pub use trace::TraceArgs;
pub use why::WhyArgs;

/// Options that every command has stand apart in its help.
const GLOBAL: &str = "Global options";

/// Masquerade for virtual machines and containers, translated in eBPF.
#[derive(Clone, Debug, Parser)]
#[command(version, after_help = help::EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// Work in this network namespace: a name of `ip netns`, or a path such as /proc/PID/ns/net
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "NAME", value_parser = netns)]
    pub netns: Option<String>,

    /// Which of several natbpf on this host [default: the name of the network namespace, or "default"]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "NAME", value_parser = instance)]
    pub instance: Option<String>,

    /// Where the BPF file system is mounted
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR", default_value = "/sys/fs/bpf")]
    pub bpffs: PathBuf,

    /// How logs are written to standard error
    #[arg(long, global = true, help_heading = GLOBAL, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// Say more; twice: still more
    #[arg(short, long, global = true, help_heading = GLOBAL, action = clap::ArgAction::Count)]
    pub verbose: u8,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Translate as a configuration says, in the foreground
    #[command(after_help = help::run())]
    Run(RunArgs),
    /// Translate as the arguments say, in the foreground: the iptables rule, spelled almost the same
    #[command(after_help = help::MASQUERADE_EXAMPLES)]
    Masquerade(Box<MasqueradeArgs>),
    /// Repeat whatever this host does to packets, whoever made the rules, in the foreground; nothing of them is changed
    #[command(after_help = help::ACCELERATE_EXAMPLES)]
    Accelerate(AccelerateArgs),
    /// Check a configuration and do nothing
    #[command(after_help = "Exit status: 0 the configuration is right, 1 it is not, 2 wrong usage.")]
    Check(CheckArgs),
    /// Print the configuration that does what rules of iptables do, and say what it leaves out
    #[command(after_help = help::IMPORT_EXAMPLES)]
    Import(ImportArgs),
    /// Show what is attached, how full the tables are, and what was translated and dropped
    #[command(after_help = "With -v, counters of drops that are zero are shown too.\n\n\
        Exit status: 0 done, 1 nothing is attached here or it cannot be read, 2 wrong usage.")]
    Status(StatusArgs),
    /// List, count, watch or end flows
    #[command(after_help = help::FLOWS_EXAMPLES)]
    Flows(FlowsArgs),
    /// List, count, watch or end paths: what this host does to which packets, and natbpf repeats
    #[command(after_help = help::PATHS_EXAMPLES)]
    Paths(PathsArgs),
    /// Show what goes through natbpf now: rates by device, instance and flow, and drops; nothing is changed
    #[command(after_help = help::TOP)]
    Top(TopArgs),
    /// Show packets before and after each program of natbpf, also those that are repeated, and what became of them
    #[command(after_help = help::TRACE)]
    Trace(TraceArgs),
    /// Look why instances do not reach the outside, and say what mends it; nothing is changed and nothing is sent
    #[command(after_help = help::DOCTOR)]
    Doctor(DoctorArgs),
    /// Follow a packet of an instance to a destination and back, and say where and why it ends, and what mends it
    #[command(after_help = help::WHY)]
    Why(WhyArgs),
    /// Remove every program and everything that was pinned, and put the sysctl back; running flows end
    #[command(after_help = "Exit status: 0 done, also if nothing was attached, 1 failed, 2 wrong usage.")]
    Detach,
}

impl Command {
    /// Whether it runs until it is ended.
    pub const fn is_daemon(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Masquerade(_) | Self::Accelerate(_))
    }
}

#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub file: FileArgs,
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub file: FileArgs,
}

#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// What `iptables-save`, `iptables -t nat -S`, `nft list ruleset` or `nft -j list ruleset` wrote; "-":
    /// standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,

    /// The uplink for rules that name no interface; may be given several times. Without it such rules are left out
    /// where they make an uplink or a forward
    #[arg(long, value_name = "IF", value_parser = values::one_interface)]
    pub uplink: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub struct FileArgs {
    /// The configuration, a TOML file
    #[arg(short, long, value_name = "FILE", default_value = "/etc/natbpf/natbpf.toml")]
    pub config: PathBuf,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines to read
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

impl Cli {
    /// Name of the instance, which is a directory name in the BPF file system: letters, digits, `-`, `_`, and
    /// `%XX` for every other byte of a namespace's name (bpffs has no dots in names).
    pub fn instance_name(&self) -> String {
        match (&self.instance, &self.netns) {
            (Some(name), _) => name.clone(),
            (None, Some(netns)) => {
                let name = Path::new(netns).file_name().unwrap_or_default();
                name.as_encoded_bytes().iter().map(|&byte| escape(byte)).collect()
            }
            (None, None) => "default".to_owned(),
        }
    }
}

const fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn escape(byte: u8) -> String {
    if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

fn instance(text: &str) -> Result<String, String> {
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("use 1 to 64 letters, digits, \"-\" and \"_\"".to_owned())
    }
}

fn netns(text: &str) -> Result<String, String> {
    match Path::new(text).file_name() {
        Some(_) => Ok(text.to_owned()),
        None => Err("give a name of `ip netns list`, or the path of a network namespace".to_owned()),
    }
}
