//! `natbpf status`

use std::process::ExitCode;

use anyhow::Result;
use natbpf_common::{SCHEMA, flow::Direction};

use crate::{
    cli::{Cli, StatusArgs},
    datapath::{Hook, Pins, Tables, attached_interfaces, attachments},
    netns,
    network::{Network, Snapshot},
    status::{AttachInfo, Attached, CounterReport, Report, UplinkStatus, Usage},
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
    Ok(Report {
        instance: cli.instance_name(),
        netns: netns::label(),
        schema: SCHEMA,
        daemon_running: pins.locked()?,
        uplinks: uplinks(pins, tables, snapshot)?,
        flows: Usage { count: flows, max: tables.max_entries()? / 2 },
        mappings: Usage { count: mappings, max: tables.max_mappings()? },
        counters: CounterReport::from(&tables.counters()?),
    })
}

fn uplinks(pins: &Pins, tables: &Tables, snapshot: &Snapshot) -> Result<Vec<UplinkStatus>> {
    let (attachments, known) = (attachments(pins)?, tables.uplinks()?);
    let on = |interface, hook| {
        attachments.iter().find(|attached| attached.interface == interface && attached.hook == hook).map(
            |attached| AttachInfo { mode: attached.mode.name().to_owned(), program_id: attached.program },
        )
    };
    let uplinks = attached_interfaces(pins)?.into_iter().map(|interface| UplinkStatus {
        name: snapshot.name(interface),
        interface,
        attached: Attached { egress: on(interface, Hook::Egress), ingress: on(interface, Hook::Ingress) },
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
