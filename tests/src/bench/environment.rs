//! Where the figures were made.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::process::Cmd;

/// Kernel, processor, versions. What cannot be found out is null.
pub fn environment() -> Value {
    let processors = std::thread::available_parallelism().map(usize::from).ok();
    json!({
        "kernel": read("/proc/sys/kernel/osrelease"),
        "architecture": std::env::consts::ARCH,
        "processor": read("/proc/cpuinfo").as_deref().and_then(processor),
        "processors": processors,
        "memory": read("/proc/meminfo").as_deref().and_then(memory),
        "load_before": load(),
        "commit": commit(),
        "iptables": version("iptables", "--version"),
        "nft": version("nft", "--version"),
        "iperf3": version("iperf3", "--version"),
    })
}

pub fn kernel() -> Option<String> {
    read("/proc/sys/kernel/osrelease")
}

/// In a line, for people.
pub fn line(environment: &Value) -> String {
    let text = |name: &str| environment[name].as_str().unwrap_or("unknown").to_owned();
    let processors = environment["processors"].as_u64().unwrap_or(0);
    format!(
        "Linux {}, {} processors ({}), {}, natbpf {}",
        text("kernel"),
        processors,
        text("processor"),
        text("iptables"),
        text("commit")
    )
}

/// How many wanted a processor in the last minute.
pub fn load() -> Option<f64> {
    read("/proc/loadavg")?.split(' ').next()?.parse().ok()
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// Not every architecture gives its processors a name.
fn processor(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Bytes.
fn memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The commit of the sources, where they are still there. Git distrusts folders of others, and root is another.
fn commit() -> Option<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git = Cmd::new("git").args(["-c", "safe.directory=*", "-C"]).arg(sources);
    let commit = git.args(["describe", "--always", "--dirty"]).output_text().ok()?;
    Some(commit.trim().to_owned())
}

fn version(program: &str, option: &str) -> Option<String> {
    let text = Cmd::new(program).arg(option).output_text().ok()?;
    Some(text.lines().next()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_texts_are_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t: fpu\n";
        assert_eq!(processor(cpuinfo).as_deref(), Some("AMD EPYC"));
        assert_eq!(processor("processor\t: 0\n"), None);
        assert_eq!(memory("MemTotal:       24000 kB\nMemFree: 1 kB\n"), Some(24_576_000));
    }
}
