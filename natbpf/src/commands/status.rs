//! `natbpf status`

use std::process::ExitCode;

use anyhow::Result;
use natbpf_common::{contract::SCHEMA, flow::Direction};

use crate::{
    cli::{Cli, StatusArgs},
    config::AttachMode,
    datapath::{Attacher, Attachment, Hook, Pins, Role, Side, Tables, attached, read_note, xdp_attachments},
    netns,
    network::{Network, Snapshot, devices},
    output,
    status::{
        AttachInfo, Attached, CounterReport, HookStatus, InsideStatus, LeftOutStatus, OffloadStatus,
        OtherStatus, PoolStatus, PortAttached, PortStatus, Report, UplinkStatus, Usage, forwards,
    },
};

/// Prints what is attached, how full it is, what was dropped.
pub async fn run(cli: &Cli, pins: &Pins, arguments: StatusArgs) -> Result<ExitCode> {
    let tables = Tables::open(pins)?;
    let snapshot = Network::open()?.snapshot().await?;
    let attacher = Attacher::new(pins.clone(), AttachMode::Auto, true)?;
    let programs = Programs(attacher.look().await?);
    let mut report = report(cli, pins, &tables, &snapshot, &programs)?;
    report.others = others(pins, &snapshot).await?;
    if arguments.json {
        output::print(serde_json::to_string_pretty(&report)?)?;
    } else {
        output::print(report.text(cli.verbose > 0))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn report(
    cli: &Cli,
    pins: &Pins,
    tables: &Tables,
    snapshot: &Snapshot,
    programs: &Programs,
) -> Result<Report> {
    let mut flows = 0;
    tables.each_entry(|key, _| flows += u64::from(key.direction() == Direction::Original))?;
    let mut mappings = 0;
    tables.each_mapping(|_, _| mappings += 1)?;
    let (forwards, floating) = forwards(&tables.forwards()?, |interface| snapshot.name(interface));
    Ok(Report {
        instance: cli.instance_name(),
        netns: netns::label(),
        schema: SCHEMA,
        daemon_running: pins.locked()?,
        offload: OffloadStatus::new(tables.epoch()?, tables.settings()?.revalidate),
        uplinks: uplinks(pins, tables, snapshot, programs)?,
        inside: inside(pins, snapshot, programs)?,
        ports: ports(pins, tables, snapshot, programs)?,
        left_out: LeftOutStatus::of_note(read_note(pins)),
        hooks: hooks(pins, tables, snapshot)?,
        others: Vec::new(),
        forwards,
        floating,
        pools: tables.pools()?.iter().map(PoolStatus::from).collect(),
        flows: Usage { count: flows, max: tables.max_entries()? / 2 },
        mappings: Usage { count: mappings, max: tables.max_mappings()? },
        counters: CounterReport::from(&tables.counters()?),
    })
}

/// Programs that are on hooks.
struct Programs(Vec<Attachment>);

impl Programs {
    fn on(&self, interface: u32, hook: Hook) -> Option<AttachInfo> {
        let found = self.0.iter().find(|attached| attached.interface == interface && attached.hook == hook);
        found.map(|attached| AttachInfo {
            mode: attached.mode.name().to_owned(),
            program_id: attached.program,
        })
    }
}

/// Interface indexes of everything with a role.
fn with_role(pins: &Pins, wanted: Role) -> Result<impl Iterator<Item = u32>> {
    let with_role = move |(interface, role)| (role == wanted).then_some(interface);
    Ok(attached(pins)?.into_iter().filter_map(with_role))
}

fn inside(pins: &Pins, snapshot: &Snapshot, programs: &Programs) -> Result<Vec<InsideStatus>> {
    let inside = with_role(pins, Role::Inside)?.map(|interface| InsideStatus {
        name: snapshot.name(interface),
        interface,
        attached: programs.on(interface, Hook::Inside),
    });
    Ok(inside.collect())
}

fn ports(pins: &Pins, tables: &Tables, snapshot: &Snapshot, programs: &Programs) -> Result<Vec<PortStatus>> {
    let known = tables.ports()?;
    let ports = with_role(pins, Role::Port)?.map(|interface| {
        let attached = PortAttached {
            ingress: programs.on(interface, Hook::PortIngress),
            egress: programs.on(interface, Hook::PortEgress),
        };
        let port = known.get(&interface).copied().unwrap_or_default();
        PortStatus::new(snapshot.name(interface), interface, port, attached)
    });
    Ok(ports.collect())
}

fn hooks(pins: &Pins, tables: &Tables, snapshot: &Snapshot) -> Result<Vec<HookStatus>> {
    let (programs, targets) = (xdp_attachments(pins)?, tables.targets()?);
    let devices = devices(&snapshot.links);
    let places = attached(pins)?.into_iter().filter(|(_, role)| *role != Role::Inside);
    let hooks = places.map(|(interface, role)| {
        let found = programs.iter().find(|program| (program.interface, program.role) == (interface, role));
        let program = found.map(|program| AttachInfo { mode: "xdp".to_owned(), program_id: program.program });
        let kind =
            snapshot.links.iter().find(|link| link.index == interface).and_then(|link| link.kind.clone());
        HookStatus::new(snapshot.name(interface), interface, program, targets.contains(&interface))
            .on_device(kind, devices.get(&interface).cloned().unwrap_or_default())
    });
    Ok(hooks.collect())
}

/// On all interfaces: which of them are between ports and uplinks only the daemon knows.
async fn others(pins: &Pins, snapshot: &Snapshot) -> Result<Vec<OtherStatus>> {
    let attacher = Attacher::new(pins.clone(), AttachMode::Auto, false)?;
    let ours = xdp_attachments(pins)?;
    let mut others = Vec::new();
    for link in &snapshot.links {
        if let Some(program) = link.xdp.filter(|program| ours.iter().all(|ours| ours.program != *program)) {
            let (name, interface) = (link.name.clone(), link.index);
            let what = format!("the BPF program number {program}");
            others.push(OtherStatus { name, interface, hook: "xdp", what });
        }
        for side in Side::BOTH {
            // One that has gone meanwhile has nothing.
            if let Ok(Some(what)) = attacher.other(link.index, &link.name, side).await {
                let (name, interface) = (link.name.clone(), link.index);
                others.push(OtherStatus { name, interface, hook: side.name(), what });
            }
        }
    }
    Ok(others)
}

fn uplinks(
    pins: &Pins,
    tables: &Tables,
    snapshot: &Snapshot,
    programs: &Programs,
) -> Result<Vec<UplinkStatus>> {
    let known = tables.uplinks()?;
    let uplinks = with_role(pins, Role::Uplink)?.map(|interface| UplinkStatus {
        name: snapshot.name(interface),
        interface,
        attached: Attached {
            egress: programs.on(interface, Hook::Egress),
            ingress: programs.on(interface, Hook::Ingress),
        },
        addresses: known
            .find(interface)
            .map(|uplink| {
                uplink
                    .addresses
                    .iter()
                    .take(uplink.address_count as usize)
                    .map(|address| address.local.into())
                    .collect()
            })
            .unwrap_or_default(),
    });
    Ok(uplinks.collect())
}
