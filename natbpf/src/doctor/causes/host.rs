//! The host as a whole: its kernel, and what all network namespaces share.

use std::net::IpAddr;

use crate::{
    doctor::{Cause, Found, Severity, Site, Stage},
    facts::{Neighbour, NeighbourState, Place},
};

const NEIGHBOURS: &str = "ipv4/neigh/default/gc_thresh3";
const BACKLOG: &str = "core/netdev_max_backlog";
const JIT: &str = "core/bpf_jit_enable";
const BRIDGE: &str = "bridge/bridge-nf-call-iptables";

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
        title: "Rules ask for ports of bridges, and bridges ask no rules (`net.bridge.bridge-nf-call-iptables`)",
        look: physdev,
    },
];

/// Whether the kernel counts it against the limit.
fn is_counted(neighbour: &&Neighbour) -> bool {
    let fixed = matches!(neighbour.state, NeighbourState::Permanent | NeighbourState::Noarp);
    matches!(neighbour.address, IpAddr::V4(_)) && !fixed
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

fn physdev(site: &Site<'_>) -> Vec<Found> {
    let deaf = |place: &&Place| {
        let mut bridges = place.devices.iter().filter_map(|device| device.bridge.as_ref()).peekable();
        let some = bridges.peek().is_some();
        some && !bridges.any(|bridge| bridge.calls_iptables) && place.settings.number(BRIDGE) == Some(0)
    };
    let mut found = Vec::new();
    for place in site.host.places.iter().filter(deaf) {
        let mut rules = place.firewall.lines("--physdev-").filter(|(_, rule)| !rule.contains("! --physdev-"));
        let Some((source, rule)) = rules.next() else { continue };
        let sentence = format!(
            "a rule{} asks for the port of a bridge and never matches, because bridges ask no rules: {rule}",
            place.within()
        );
        found.push(
            Found::new(place, "net.bridge.bridge-nf-call-iptables", sentence)
                .seen(format!("/proc/sys/net/{BRIDGE}"), 0)
                .seen(format!("rules of {}", source.name()), rule)
                .mend(place, "sysctl -w net.bridge.bridge-nf-call-iptables=1"),
        );
    }
    found
}
