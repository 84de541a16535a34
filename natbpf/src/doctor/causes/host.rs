//! The host as a whole: its kernel, and what all network namespaces share.

use std::net::IpAddr;

use crate::{
    doctor::{Cause, Found, Severity, Site, Stage},
    facts::{Device, Neighbour, NeighbourState, Place},
};

const NEIGHBOURS: &str = "ipv4/neigh/default/gc_thresh3";
const BACKLOG: &str = "core/netdev_max_backlog";
const JIT: &str = "core/bpf_jit_enable";
const BRIDGE: &str = "bridge/bridge-nf-call-iptables";

/// Chains that call each other are not followed farther.
const DEEPEST: u8 = 16;

/// What a processor takes in at a time (`net.core.dev_weight`): a shorter backlog ends before its first round.
const ROUND: u64 = 64;

pub const CAUSES: &[Cause] = &[
    Cause {
        name: "neighbour-table-full",
        severity: Severity::Warning,
        stage: Stage::Neighbour,
        title: "The kernel's table of neighbours is nearly full (`net.ipv4.neigh.default.gc_thresh3`)",
        look: neighbours,
    },
    Cause {
        name: "backlog-short",
        severity: Severity::Warning,
        stage: Stage::Host,
        title: "Few packets may wait for a processor (`net.core.netdev_max_backlog`)",
        look: backlog,
    },
    Cause {
        name: "bpf-jit-off",
        severity: Severity::Warning,
        stage: Stage::Host,
        title: "natbpf runs, and the kernel interprets BPF (`net.core.bpf_jit_enable`)",
        look: interpreted,
    },
    Cause {
        name: "security-module-denies",
        severity: Severity::Warning,
        stage: Stage::Host,
        title: "SELinux or AppArmor has denied something to natbpf",
        look: denied,
    },
    Cause {
        name: "physdev-never-matches",
        severity: Severity::Warning,
        stage: Stage::Filter,
        title: "Rules are to keep something from ports of bridges, and bridges ask no rules (`bridge-nf-call-iptables`)",
        look: physdev,
    },
];

/// Whether the kernel counts it against the limit.
fn is_counted(neighbour: &&Neighbour) -> bool {
    let fixed = matches!(neighbour.state, NeighbourState::Permanent | NeighbourState::Noarp);
    matches!(neighbour.address, IpAddr::V4(_)) && !fixed && !neighbour.put
}

fn neighbours(site: &Site<'_>) -> Vec<Found> {
    let host = site.host;
    let Some(limit) = host.kernel.get(NEIGHBOURS) else { return Vec::new() };
    let count = host.places.iter().flat_map(|place| &place.neighbours).filter(is_counted).count() as u64;
    if count * 10 < limit * 9 {
        return Vec::new();
    }
    let sentence = format!(
        "{count} neighbours are known, and the kernel keeps {limit}: packets to further ones are dropped, in every \
         network namespace"
    );
    let found = Found::new(host.home(), "net.ipv4.neigh.default.gc_thresh3", sentence)
        .seen(format!("/proc/sys/net/{NEIGHBOURS}"), limit)
        .seen("ip -4 neigh show, in all namespaces", format!("{count} entries"))
        .global(format!("sysctl -w net.ipv4.neigh.default.gc_thresh3={}", (count * 4).max(16384)));
    vec![found]
}

fn backlog(site: &Site<'_>) -> Vec<Found> {
    let Some(limit) = site.host.kernel.get(BACKLOG).filter(|limit| *limit < ROUND) else { return Vec::new() };
    if site.routers.is_empty() {
        return Vec::new();
    }
    let sentence = format!(
        "packets from instances are dropped in a burst: a processor lets {limit} of them wait, fewer than it takes in \
         at a time"
    );
    let found = Found::new(site.host.home(), "net.core.netdev_max_backlog", sentence)
        .seen(format!("/proc/sys/net/{BACKLOG}"), limit)
        .global("sysctl -w net.core.netdev_max_backlog=1000");
    vec![found]
}

fn interpreted(site: &Site<'_>) -> Vec<Found> {
    if site.host.natbpf.is_empty() || site.host.kernel.get(JIT) != Some(0) {
        return Vec::new();
    }
    let sentence = "natbpf is slow: the kernel interprets its programs, because its compiler for BPF is off";
    let found = Found::new(site.host.home(), "net.core.bpf_jit_enable", sentence)
        .seen(format!("/proc/sys/net/{JIT}"), 0)
        .global("sysctl -w net.core.bpf_jit_enable=1");
    vec![found]
}

fn denied(site: &Site<'_>) -> Vec<Found> {
    let Some(last) = site.host.kernel.denials.last() else { return Vec::new() };
    let selinux = last.contains("avc:");
    let (module, mend) = if selinux {
        ("SELinux", "ausearch -m avc -c natbpf | audit2allow -M natbpf && semodule -i natbpf.pp")
    } else {
        ("AppArmor", "aa-logprof")
    };
    let sentence = format!("{module} has denied something to natbpf in the last hour");
    vec![
        Found::new(site.host.home(), module, sentence)
            .seen("/dev/kmsg", last)
            .mend_by_shell(&Place::default(), mend),
    ]
}

/// Rules of a chain, and of those that it leads to, that let something not pass.
fn denies(lines: &[&str], rule: &str, depth: u8) -> bool {
    let target = rule.split_once(" -j ").or_else(|| rule.split_once(" -g ")).map(|(_, after)| after);
    match target.and_then(|target| target.split_whitespace().next()) {
        Some("DROP" | "REJECT") => true,
        Some(chain) if depth < DEEPEST => {
            let start = format!("-A {chain} ");
            lines.iter().filter(|line| line.starts_with(&start)).any(|line| denies(lines, line, depth + 1))
        }
        _ => false,
    }
}

/// The bridge whose port a rule names, or the first one.
fn bridge_of<'a>(place: &'a Place, rule: &str) -> Option<&'a Device> {
    let words: Vec<_> = rule.split_whitespace().collect();
    let named = words.windows(2).filter(|pair| matches!(pair[0], "--physdev-in" | "--physdev-out"));
    let ports = named.filter_map(|pair| place.named(pair[1]));
    let bridge = ports.filter_map(|port| place.device(port.master?)).find(|bridge| bridge.bridge.is_some());
    bridge.or_else(|| place.devices.iter().find(|device| device.bridge.is_some()))
}

/// What accepts is as a rule for what is bridged has to be, whether or not it is asked.
fn physdev(site: &Site<'_>) -> Vec<Found> {
    let deaf = |place: &&Place| {
        let mut bridges = place.devices.iter().filter_map(|device| device.bridge.as_ref());
        !bridges.any(|bridge| bridge.calls_iptables) && place.settings.number(BRIDGE) == Some(0)
    };
    let mut found = Vec::new();
    for place in site.host.places.iter().filter(deaf) {
        let all: Vec<_> = place.firewall.lines("-A ").map(|(_, line)| line).collect();
        let mut rules = place.firewall.lines("--physdev-");
        let rule = rules.find(|(_, rule)| !rule.contains("! --physdev-") && denies(&all, rule, 0));
        let Some((source, rule)) = rule else { continue };
        let Some(bridge) = bridge_of(place, rule) else { continue };
        let sentence = format!(
            "a rule{} is to keep something from a port of a bridge and never matches, because bridges ask no rules: \
             {rule}",
            place.within()
        );
        found.push(
            Found::new(place, "net.bridge.bridge-nf-call-iptables", sentence)
                .seen(format!("/proc/sys/net/{BRIDGE}"), 0)
                .seen(format!("rules of {}", source.name()), rule)
                // The sysctl would have all bridges ask all rules.
                .mend(place, format!("ip link set {} type bridge nf_call_iptables 1", bridge.name)),
        );
    }
    found
}
