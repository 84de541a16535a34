//! What a program may change in a namespace, as text: equal before and after means that it left nothing
//! behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Namespace;
use super::isolate::bpffs;

/// Each part of the state under the command that shows it: addresses, routes, queueing disciplines and
/// filters, attached BPF programs, sysctls of the network, and what is pinned in the lab's bpffs. Counters
/// and caches are not in it.
pub fn of(ns: &Namespace) -> Result<BTreeMap<String, String>> {
    let commands = [
        "ip address show",
        "ip route show table all",
        "ip rule show",
        "tc qdisc show",
        "bpftool net show",
        "sysctl --all --ignore --pattern ^net\\.",
    ];
    let mut state = BTreeMap::new();
    for command in commands {
        let mut words = command.split(' ');
        let program = words.next().unwrap_or_default();
        let text = ns.cmd(program).args(words).output_text()?;
        let kept = text.lines().filter(|line| !is_counter(line)).map(|line| format!("{}\n", line.trim_end()));
        state.insert(command.to_owned(), kept.collect());
    }
    let mut pins = Vec::new();
    find(bpffs(), &mut pins)?;
    state.insert(
        "find /sys/fs/bpf".to_owned(),
        pins.iter().map(|pin| format!("{}\n", pin.display())).collect(),
    );
    Ok(state)
}

/// The parts that differ, with both texts; empty when nothing does.
pub fn differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> String {
    let changed = before.iter().filter(|(command, text)| after.get(*command) != Some(*text));
    let show = |(command, text): (&String, &String)| {
        let now = after.get(command).map_or("", String::as_str);
        let gone = text
            .lines()
            .filter(|line| !now.lines().any(|other| other == *line))
            .map(|line| format!("- {line}\n"));
        let come = now
            .lines()
            .filter(|line| !text.lines().any(|other| other == *line))
            .map(|line| format!("+ {line}\n"));
        format!("{command}\n{}{}", gone.collect::<String>(), come.collect::<String>())
    };
    changed.map(show).collect()
}

/// Values among the sysctls that change by themselves.
fn is_counter(line: &str) -> bool {
    let name = line.split(' ').next().unwrap_or_default();
    ["_count", ".stat"].iter().any(|end| name.ends_with(end))
}

fn find(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries {
        let entry = entry?;
        found.push(entry.path());
        if entry.file_type()?.is_dir() {
            find(&entry.path(), found)?;
        }
    }
    found.sort();
    Ok(())
}
