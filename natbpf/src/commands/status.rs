//! `natbpf status`

use std::process::ExitCode;

use anyhow::Result;
use natbpf_common::{IfIndex, contract::SCHEMA, flow::Direction};

use crate::{
    cli::{Cli, StatusArgs},
    clock,
    config::AttachMode,
    datapath::{Attacher, Attachment, Hook, Note, Pins, Role, Side, Tables, attached, xdp_attachments},
    netns,
    network::{Network, Snapshot, devices},
    output,
    paths::by_edge,
    status::{
        AttachInfo, Attached, CounterReport, EdgeStatus, HookStatus, InsideStatus, LeftOutStatus,
        NamespaceStatus, Noted as _, ObstacleStatus, OffloadStatus, OtherStatus, PoolStatus, PortAttached,
        PortStatus, Report, UplinkStatus, Usage, forwards,
    },
};

/// Prints what is attached, how full it is, what was dropped.
pub async fn run(cli: &Cli, pins: &Pins, arguments: StatusArgs) -> Result<ExitCode> {
    let tables = Tables::open(pins)?;
    let snapshot = Network::open()?.snapshot().await?;
    let attacher = Attacher::new(pins.clone(), AttachMode::Auto, true)?;
    let programs = attacher.look().await?;
    let mut report = View { pins, tables, snapshot: &snapshot, programs }.report(cli)?;
    report.others = others(pins, &snapshot).await?;
    if arguments.json {
        output::print(serde_json::to_string_pretty(&report)?)?;
    } else {
        output::print(report.text(cli.verbose > 0))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What there is to be looked at.
struct View<'a> {
    pins: &'a Pins,
    tables: Tables,
    snapshot: &'a Snapshot,
    /// Those on hooks of TC.
    programs: Vec<Attachment>,
}

impl View<'_> {
    fn report(&self, cli: &Cli) -> Result<Report> {
        let tables = &self.tables;
        let mut flows = 0;
        tables.each_entry(|key, _| flows += u64::from(key.direction() == Direction::Original))?;
        let mut mappings = 0;
        tables.each_mapping(|_, _| mappings += 1)?;
        let (forwards, floating) = forwards(&tables.forwards()?, |interface| self.snapshot.name(interface));
        Ok(Report {
            instance: cli.instance_name(),
            netns: netns::label(),
            schema: SCHEMA,
            daemon_running: self.pins.locked()?,
            offload: OffloadStatus::new(tables.epoch()?, tables.repeat()?.revalidate),
            uplinks: self.uplinks()?,
            inside: self.inside()?,
            ports: self.ports()?,
            edges: self.edges()?,
            left_out: LeftOutStatus::of_note(Note::LeftOut.read(self.pins)),
            namespaces: NamespaceStatus::of_note(Note::Namespaces.read(self.pins)),
            hooks: self.hooks()?,
            others: Vec::new(),
            obstacles: ObstacleStatus::of_note(Note::Obstacles.read(self.pins)),
            forwards,
            floating,
            pools: tables.pools()?.iter().map(PoolStatus::from).collect(),
            flows: Usage { count: flows, max: tables.max_entries()? / 2 },
            mappings: Usage { count: mappings, max: tables.max_mappings()? },
            counters: CounterReport::from(&tables.counters()?),
        })
    }

    fn program(&self, interface: IfIndex, hook: Hook) -> Option<AttachInfo> {
        let found = self.programs.iter().find(|there| (there.interface, there.hook) == (interface, hook))?;
        Some(AttachInfo { mode: found.mode.name().to_owned(), program_id: found.program })
    }

    /// Interface indexes and names of everything with a role.
    fn with_role(&self, wanted: Role) -> Result<impl Iterator<Item = (IfIndex, String)>> {
        let there = attached(self.pins)?.into_iter().filter(move |(_, role)| *role == wanted);
        Ok(there.map(|(interface, _)| (interface, self.snapshot.name(interface))))
    }

    fn uplinks(&self) -> Result<Vec<UplinkStatus>> {
        let known = self.tables.uplinks()?;
        let uplinks = self.with_role(Role::Uplink)?.map(|(interface, name)| {
            let egress = self.program(interface, Hook::Egress);
            let ingress = self.program(interface, Hook::Ingress);
            let addresses = known
                .find(interface)
                .into_iter()
                .flat_map(|uplink| uplink.addresses.iter().take(uplink.address_count as usize))
                .map(|address| address.local.into());
            let addresses = addresses.collect();
            UplinkStatus {
                name,
                interface: interface.number(),
                attached: Attached { egress, ingress },
                addresses,
            }
        });
        Ok(uplinks.collect())
    }

    fn inside(&self) -> Result<Vec<InsideStatus>> {
        let inside = self.with_role(Role::Inside)?.map(|(interface, name)| {
            let attached = self.program(interface, Hook::Inside);
            InsideStatus { name, interface: interface.number(), attached }
        });
        Ok(inside.collect())
    }

    fn ports(&self) -> Result<Vec<PortStatus>> {
        let known = self.tables.ports()?;
        let ports = self.with_role(Role::Port)?.map(|(interface, name)| {
            let ingress = self.program(interface, Hook::PortIngress);
            let egress = self.program(interface, Hook::PortEgress);
            let port = known.get(&interface).copied().unwrap_or_default();
            PortStatus::new(name, interface, port, PortAttached { ingress, egress })
        });
        Ok(ports.collect())
    }

    fn edges(&self) -> Result<Vec<EdgeStatus>> {
        let edges = by_edge(&self.tables, clock::now())?.into_iter();
        let edges = edges.map(|(edge, load)| EdgeStatus::new(self.snapshot.name(edge), edge.number(), load));
        Ok(edges.collect())
    }

    fn hooks(&self) -> Result<Vec<HookStatus>> {
        let (programs, targets) = (xdp_attachments(self.pins)?, self.tables.targets()?);
        let devices = devices(&self.snapshot.links);
        let places = attached(self.pins)?.into_iter().filter(|(_, role)| *role != Role::Inside);
        let hooks = places.map(|(interface, role)| {
            let found =
                programs.iter().find(|program| (program.interface, program.role) == (interface, role));
            let program = found.map(|found| AttachInfo { mode: "xdp".to_owned(), program_id: found.program });
            let name = self.snapshot.name(interface);
            let kind = self.snapshot.link(interface).and_then(|link| link.kind.clone());
            HookStatus::new(name, interface, program, targets.contains(&interface))
                .on_device(kind, devices.get(&interface).cloned().unwrap_or_default())
        });
        Ok(hooks.collect())
    }
}

/// On all interfaces: which of them are between ports and uplinks only the daemon knows.
async fn others(pins: &Pins, snapshot: &Snapshot) -> Result<Vec<OtherStatus>> {
    let attacher = Attacher::new(pins.clone(), AttachMode::Auto, false)?;
    let ours = xdp_attachments(pins)?;
    let mut others = Vec::new();
    for link in &snapshot.links {
        let mut found = Vec::new();
        if let Some(program) = link.xdp.filter(|program| ours.iter().all(|ours| ours.program != *program)) {
            found.push(("xdp", format!("the BPF program number {program}")));
        }
        for side in Side::BOTH {
            // One that has gone meanwhile has nothing.
            let other = attacher.other(link.index, &link.name, side).await.ok().flatten();
            found.extend(other.map(|what| (side.name(), what)));
        }
        let (name, interface) = (&link.name, link.index.number());
        others.extend(found.into_iter().map(|(hook, what)| OtherStatus {
            name: name.clone(),
            interface,
            hook,
            what,
        }));
    }
    Ok(others)
}
