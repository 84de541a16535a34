//! `natbpf status`

use std::process::ExitCode;

use anyhow::Result;
use natbpf_common::{SCHEMA, flow::Direction};

use crate::{
    cli::{Cli, StatusArgs},
    datapath::{Attachment, Hook, Pins, Role, Tables, attached, attachments, xdp_attachments},
    netns,
    network::{Network, Snapshot, devices},
    status::{
        AttachInfo, Attached, CounterReport, HookStatus, InsideStatus, OffloadStatus, PoolStatus,
        PortAttached, PortStatus, Report, UplinkStatus, Usage, forwards,
    },
};

/// Prints what is attached, how full it is, what was dropped.
pub async fn run(cli: &Cli, pins: &Pins, arguments: StatusArgs) -> Result<ExitCode> {
    let tables = Tables::open(pins)?;
    let snapshot = Network::open()?.snapshot().await?;
    let report = report(cli, pins, &tables, &snapshot)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", report.text(cli.verbose > 0));
    }
    Ok(ExitCode::SUCCESS)
}

fn report(cli: &Cli, pins: &Pins, tables: &Tables, snapshot: &Snapshot) -> Result<Report> {
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
        uplinks: uplinks(pins, tables, snapshot)?,
        inside: inside(pins, snapshot)?,
        ports: ports(pins, tables, snapshot)?,
        hooks: hooks(pins, tables, snapshot)?,
        forwards,
        floating,
        pools: tables.pools()?.iter().map(PoolStatus::from).collect(),
        flows: Usage { count: flows, max: tables.max_entries()? / 2 },
        mappings: Usage { count: mappings, max: tables.max_mappings()? },
        counters: CounterReport::from(&tables.counters()?),
    })
}

/// Programs on hooks.
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

fn inside(pins: &Pins, snapshot: &Snapshot) -> Result<Vec<InsideStatus>> {
    let programs = Programs(attachments(pins)?);
    let inside = with_role(pins, Role::Inside)?.map(|interface| InsideStatus {
        name: snapshot.name(interface),
        interface,
        attached: programs.on(interface, Hook::Inside),
    });
    Ok(inside.collect())
}

fn ports(pins: &Pins, tables: &Tables, snapshot: &Snapshot) -> Result<Vec<PortStatus>> {
    let (programs, known) = (Programs(attachments(pins)?), tables.ports()?);
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

fn uplinks(pins: &Pins, tables: &Tables, snapshot: &Snapshot) -> Result<Vec<UplinkStatus>> {
    let (programs, known) = (Programs(attachments(pins)?), tables.uplinks()?);
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
