//! What `natbpf status` tells, as JSON and as text.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr};

use comfy_table::{CellAlignment, Table, presets};
use natbpf_common::contract::counter::{Counter, Counters, Kind};
use serde::Serialize;

mod hook;
mod left_out;
mod offload;
mod serve;

pub use hook::HookStatus;
pub use left_out::LeftOutStatus;
pub use offload::{OffloadStatus, OtherStatus, PortAttached, PortStatus};
pub use serve::{FloatingStatus, ForwardStatus, PoolStatus, forwards};

/// All of it. Scripts rely on the names.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub instance: String,
    /// Label of the network namespace.
    pub netns: String,
    /// Layout of what is pinned.
    pub schema: u32,
    pub daemon_running: bool,
    pub offload: OffloadStatus,
    pub uplinks: Vec<UplinkStatus>,
    /// Where hairpinning is done.
    pub inside: Vec<InsideStatus>,
    /// Whose flows are offloaded.
    pub ports: Vec<PortStatus>,
    /// Interfaces that are meant and cannot be had, as the daemon has noted.
    pub left_out: Vec<LeftOutStatus>,
    /// Of uplinks and ports: where packets of offloaded flows are served.
    pub hooks: Vec<HookStatus>,
    /// What somebody else has on hooks, wherever in the namespace.
    pub others: Vec<OtherStatus>,
    pub forwards: Vec<ForwardStatus>,
    pub floating: Vec<FloatingStatus>,
    pub pools: Vec<PoolStatus>,
    pub flows: Usage,
    pub mappings: Usage,
    pub counters: CounterReport,
}

#[derive(Clone, Debug, Serialize)]
pub struct UplinkStatus {
    pub name: String,
    /// Interface index.
    pub interface: u32,
    pub attached: Attached,
    /// In the order in which they are preferred.
    pub addresses: Vec<Ipv4Addr>,
}

/// An interface that inside hosts send by.
#[derive(Clone, Debug, Serialize)]
pub struct InsideStatus {
    pub name: String,
    /// Interface index.
    pub interface: u32,
    pub attached: Option<AttachInfo>,
}

/// The programs on the two hooks of an uplink.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Attached {
    pub egress: Option<AttachInfo>,
    pub ingress: Option<AttachInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttachInfo {
    /// `tcx` or `clsact`.
    pub mode: String,
    /// The kernel's number of the program, as `bpftool prog` shows it.
    pub program_id: u32,
}

/// How full a table is.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Usage {
    pub count: u64,
    pub max: u64,
}

/// Sums over all processors, by name.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CounterReport {
    pub traffic: BTreeMap<&'static str, u64>,
    pub flows: BTreeMap<&'static str, u64>,
    pub drops: BTreeMap<&'static str, u64>,
}

/// The text form of a report.
#[derive(Debug)]
pub struct Text<'a> {
    report: &'a Report,
    all_drops: bool,
}

impl Report {
    /// As text. Drops that never happened are left out unless `all_drops`.
    pub const fn text(&self, all_drops: bool) -> Text<'_> {
        Text { report: self, all_drops }
    }
}

impl Usage {
    fn percent(self) -> f64 {
        if self.max == 0 { 0.0 } else { self.count as f64 * 100.0 / self.max as f64 }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} ({:.1} %)", self.count, self.max, self.percent())
    }
}

impl From<&Counters> for CounterReport {
    fn from(counters: &Counters) -> Self {
        let mut report = Self::default();
        for &counter in Counter::ALL {
            let group = match counter.kind() {
                Kind::Traffic => &mut report.traffic,
                Kind::Flows => &mut report.flows,
                Kind::Drop => &mut report.drops,
            };
            group.insert(counter.name(), counters[counter as usize]);
        }
        report
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report;
        let daemon =
            if report.daemon_running { "running" } else { "not running; traffic goes on without it" };
        let mut table = bare();
        table.add_row(["instance", &report.instance]);
        table.add_row(["network namespace", &report.netns]);
        table.add_row(["daemon", daemon]);
        table.add_row(["offload", &report.offload.text()]);
        table.add_row(["flows", &report.flows.to_string()]);
        table.add_row(["mappings", &report.mappings.to_string()]);
        writeln!(f, "{}", trimmed(&mut table))?;
        write!(f, "\n{}", trimmed(&mut uplinks(&report.uplinks)))?;
        for mut table in leading_inside(report) {
            write!(f, "\n\n{}", trimmed(&mut table))?;
        }
        let counters = &report.counters;
        write_counters(f, "traffic", &counters.traffic, true)?;
        write_counters(f, "flows", &counters.flows, true)?;
        if !self.all_drops && counters.drops.values().all(|&count| count == 0) {
            return write!(f, "\n\nno packet was dropped");
        }
        write_counters(f, "drops", &counters.drops, self.all_drops)
    }
}

fn uplinks(uplinks: &[UplinkStatus]) -> Table {
    let mut table = bare();
    table.add_row(["uplink", "index", "egress", "ingress", "addresses"]);
    for uplink in uplinks {
        let addresses: Vec<_> = uplink.addresses.iter().map(Ipv4Addr::to_string).collect();
        table.add_row([
            uplink.name.clone(),
            uplink.interface.to_string(),
            attachment(uplink.attached.egress.as_ref()),
            attachment(uplink.attached.ingress.as_ref()),
            if addresses.is_empty() { "none".to_owned() } else { addresses.join(" ") },
        ]);
    }
    table
}

/// The tables of what not everybody has.
fn leading_inside(report: &Report) -> Vec<Table> {
    let mut tables = Vec::new();
    let mut add = |head: &[&str], rows: Vec<Vec<String>>| {
        if !rows.is_empty() {
            let mut table = bare();
            table.add_row(head);
            table.add_rows(rows);
            tables.push(table);
        }
    };
    let inside = report.inside.iter().map(|inside| {
        vec![inside.name.clone(), inside.interface.to_string(), attachment(inside.attached.as_ref())]
    });
    add(&["hairpin at", "index", "program"], inside.collect());
    let ports = report.ports.iter().map(|port| {
        vec![
            port.name.clone(),
            port.interface.to_string(),
            attachment(port.attached.ingress.as_ref()),
            attachment(port.attached.egress.as_ref()),
            if port.peer { "to the other end of the pair" } else { "to the port" }.to_owned(),
        ]
    });
    add(&["port", "index", "ingress", "egress", "replies go"], ports.collect());
    let left_out = report.left_out.iter().map(LeftOutStatus::row);
    add(&["left out", "as", "because"], left_out.collect());
    let hooks = report.hooks.iter().filter(|hook| hook.is_of_interest()).map(HookStatus::row);
    add(&["hook of", "index", "hook", "takes frames from XDP", "driver"], hooks.collect());
    let others = report.others.iter().map(|other| {
        vec![other.name.clone(), other.interface.to_string(), other.hook.to_owned(), other.what.clone()]
    });
    add(&["others at", "index", "hook", "what"], others.collect());
    let forwards = report.forwards.iter();
    let forwards = forwards.map(|forward| vec![forward.uplink.clone(), forward.external(), forward.inside()]);
    add(&["forward at", "external", "inside"], forwards.collect());
    let floating = report
        .floating
        .iter()
        .map(|floating| vec![floating.uplink.clone(), floating.address.to_string(), floating.to.to_string()]);
    add(&["floating at", "address", "host"], floating.collect());
    let pools = report.pools.iter().map(|pool| {
        let addresses: Vec<String> = pool.addresses.iter().map(Ipv4Addr::to_string).collect();
        vec![addresses.len().to_string(), addresses.join(" ")]
    });
    add(&["pool of", "addresses"], pools.collect());
    tables
}

fn attachment(info: Option<&AttachInfo>) -> String {
    info.map_or_else(|| "missing".to_owned(), |info| format!("{} program {}", info.mode, info.program_id))
}

/// In the order of the one list of counters, not of their names.
fn write_counters(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    counters: &BTreeMap<&'static str, u64>,
    zeros: bool,
) -> fmt::Result {
    let mut table = bare();
    for counter in Counter::ALL {
        if let Some(&count) = counters.get(counter.name())
            && (zeros || count > 0)
        {
            table.add_row([
                format!("  {}", counter.name()),
                count.to_string(),
                counter.help().trim().to_owned(),
            ]);
        }
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    write!(f, "\n\n{title}\n{}", trimmed(&mut table))
}

/// Columns and nothing around them.
fn bare() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn trimmed(table: &mut Table) -> String {
    if let Some(column) = table.column_mut(0) {
        column.set_padding((0, 1));
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    mod readme;

    use natbpf_common::{contract::inside::InsidePort, flow::offload::Offload};

    use super::*;
    use crate::{
        datapath::Role,
        network::{Device, Features},
    };

    fn report() -> Report {
        let mut counters: Counters = [0; Counter::COUNT];
        counters[Counter::EgressPackets as usize] = 12;
        counters[Counter::NoPort as usize] = 3;
        let info = AttachInfo { mode: "tcx".to_owned(), program_id: 41 };
        Report {
            instance: "default".to_owned(),
            netns: "net:[4026531840]".to_owned(),
            schema: 1,
            daemon_running: true,
            offload: OffloadStatus { on: true, epoch: 17, revalidate_seconds: 10.0 },
            uplinks: vec![UplinkStatus {
                name: "eth0".to_owned(),
                interface: 3,
                attached: Attached { egress: Some(info), ingress: None },
                addresses: vec![Ipv4Addr::new(203, 0, 113, 1)],
            }],
            inside: Vec::new(),
            ports: Vec::new(),
            left_out: Vec::new(),
            hooks: Vec::new(),
            others: Vec::new(),
            forwards: Vec::new(),
            floating: Vec::new(),
            pools: Vec::new(),
            flows: Usage { count: 128, max: 1024 },
            mappings: Usage::default(),
            counters: CounterReport::from(&counters),
        }
    }

    #[test]
    fn the_text_shows_what_matters() {
        let report = report();
        let text = report.text(false).to_string();
        let line = |start: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(start));
            line.unwrap_or_else(|| panic!("{start} is not in\n{text}"))
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(line("flows"), "flows 128 of 1024 (12.5 %)");
        assert_eq!(line("mappings"), "mappings 0 of 0 (0.0 %)");
        assert_eq!(line("offload "), "offload on, each flow asks the kernel again every 10 s, epoch 17");
        assert_eq!(line("eth0"), "eth0 3 tcx program 41 missing 203.0.113.1");
        assert_eq!(line("no_port"), "no_port 3 No external port is free.");
        assert!(!text.contains("table_full"), "a drop that never happened is shown");
        assert!(text.lines().all(|line| line == line.trim_end()), "blanks at the end of a line");
        assert!(report.text(true).to_string().contains("table_full"));
    }

    #[test]
    fn what_leads_inside_is_shown_where_there_is_any() {
        let mut report = report();
        let plain = report.text(false).to_string();
        assert!(
            ["hairpin at", "replies go", "others at", "forward at", "floating at", "pool of"]
                .iter()
                .all(|head| !plain.contains(head))
        );
        let (uplink, address, to) = ("eth0", Ipv4Addr::new(203, 0, 113, 50), Ipv4Addr::new(10, 0, 0, 11));
        let attached = Some(AttachInfo { mode: "tcx".to_owned(), program_id: 42 });
        report.inside =
            vec![InsideStatus { name: "br0".to_owned(), interface: 2, attached: attached.clone() }];
        let (ingress, egress) = (attached, None);
        let port = |name: &str, interface, flags| {
            let attached = PortAttached { ingress: ingress.clone(), egress: egress.clone() };
            PortStatus::new(name.to_owned(), interface, InsidePort { flags }, attached)
        };
        report.ports = vec![port("veth1", 7, Offload::PEER), port("vnet0", 8, 0)];
        let program = AttachInfo { mode: "xdp".to_owned(), program_id: 43 };
        let hook = |name: &str, program, takes| HookStatus::new(name.to_owned(), 7, program, takes);
        let device = |name: &str, features| Device {
            driver: Some(name.to_owned()),
            xdp: Some(Features(features)),
            ..Device::default()
        };
        report.hooks = vec![
            hook("veth1", Some(program), true).on_device(Some("veth".to_owned()), device("veth", 7)),
            hook("vnet0", None, false).on_device(Some("tun".to_owned()), device("tun", 0)),
            hook("eth1", None, false).on_device(None, device("tg3", 0)),
        ];
        let what = "a TC filter of kind u32 with priority 49152".to_owned();
        report.others = vec![OtherStatus { name: "br0".to_owned(), interface: 2, hook: "ingress", what }];
        report.forwards = vec![ForwardStatus {
            uplink: uplink.to_owned(),
            protocol: "udp",
            address,
            first_port: 53,
            last_port: 53,
            to,
            to_port: 5353,
        }];
        report.floating = vec![FloatingStatus { uplink: uplink.to_owned(), address, to }];
        report.pools = vec![PoolStatus { addresses: vec![address, to] }];
        report.left_out = vec![LeftOutStatus::new("w1", Role::Uplink, "a filter is there")];
        let text = report.text(false).to_string();
        let words: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for line in [
            "br0 2 tcx program 42",
            "veth1 7 tcx program 42 missing to the other end of the pair",
            "vnet0 8 tcx program 42 missing to the port",
            "veth1 7 xdp program 43 yes veth, has native XDP",
            "eth1 7 tc no tg3, no native XDP",
            "br0 2 ingress a TC filter of kind u32 with priority 49152",
            "eth0 udp 203.0.113.50:53 10.0.0.11:5353",
            "eth0 203.0.113.50 10.0.0.11",
            "2 203.0.113.50 10.0.0.11",
            "w1 uplink a filter is there",
        ] {
            assert!(words.iter().any(|words| words == line), "{line} is not in\n{text}");
        }
        assert!(!words.iter().any(|words| words.starts_with("vnet0 7 tc")), "a TAP at TC is told in\n{text}");
        assert!(text.lines().all(|line| line == line.trim_end()), "blanks at the end of a line");
        let json = serde_json::to_value(report).unwrap();
        assert_eq!(json["forwards"][0]["to_port"], 5353);
        assert_eq!(json["inside"][0]["attached"]["program_id"], 42);
        assert_eq!((&json["ports"][0]["peer"], &json["ports"][1]["peer"]), (&true.into(), &false.into()));
        assert_eq!(json["ports"][0]["attached"]["ingress"]["program_id"], 42);
        assert_eq!((&json["hooks"][0]["hook"], &json["hooks"][1]["hook"]), (&"xdp".into(), &"tc".into()));
        assert_eq!(json["offload"]["epoch"], 17);
        assert_eq!(json["pools"][0]["addresses"][1], "10.0.0.11");
    }

    #[test]
    fn no_drop_is_said_in_words() {
        let mut report = report();
        report.counters = CounterReport::from(&[0; Counter::COUNT]);
        assert!(report.text(false).to_string().ends_with("no packet was dropped"));
    }

    #[test]
    fn every_counter_is_in_the_json() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["uplinks"][0]["attached"]["egress"]["program_id"], 41);
        assert!(json["uplinks"][0]["attached"]["ingress"].is_null());
        assert_eq!(json["counters"]["drops"]["no_port"], 3);
        let groups =
            ["traffic", "flows", "drops"].map(|group| json["counters"][group].as_object().unwrap().len());
        assert_eq!(groups.iter().sum::<usize>(), Counter::COUNT);
    }
}
