//! natbpf in user space: configuration, loading and attaching, housekeeping, and the commands that show what
//! is going on.

pub mod address;
pub mod announce;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod datapath;
pub mod doctor;
pub mod facts;
pub mod flows;
pub mod gc;
pub mod import;
pub mod logging;
#[cfg(test)]
mod manual;
pub mod netlink;
pub mod netns;
pub mod network;
pub mod notices;
pub mod obstacles;
pub mod offload;
pub mod output;
pub mod paths;
pub mod plan;
pub mod preflight;
pub mod status;
pub mod teardown;
pub mod top;
pub mod trace;
pub mod watch;
pub mod why;
