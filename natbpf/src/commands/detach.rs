//! `natbpf detach`

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{
    cli::Cli,
    config::AttachMode,
    datapath::{Attacher, Pins, Tables, attachments},
    netns, output, preflight, teardown,
};

/// Leaves the host as it was before.
pub async fn run(cli: &Cli, pins: Pins) -> Result<ExitCode> {
    preflight::check_privilege()?;
    preflight::check_bpffs(&cli.bpffs)?;
    let name = cli.instance_name();
    if pins.list_all_versions()?.is_empty() {
        // A folder may be left of a start that failed.
        pins.remove()?;
        output::print(format_args!("nothing to detach: instance {name} is not attached"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(_lock) = pins.lock()? else {
        bail!("a natbpf runs as instance {name} and would attach again; end it, which detaches too");
    };
    check_namespace(&pins)?;
    let attacher = Attacher::new(pins.clone(), AttachMode::Auto, true)?;
    teardown::detach(&pins, &attacher).await?;
    output::print(format_args!("detached: the programs of instance {name} and everything pinned are gone"))?;
    Ok(ExitCode::SUCCESS)
}

/// Filters and qdiscs can be removed only in the namespace of their interface; links go with their pins from
/// anywhere.
fn check_namespace(pins: &Pins) -> Result<()> {
    let filters = attachments(pins)?.iter().any(|attached| attached.mode == crate::datapath::Mode::Clsact);
    let elsewhere = Tables::open(pins).and_then(|tables| tables.settings()).is_ok_and(|settings| {
        settings.netns != 0 && netns::cookie().is_ok_and(|cookie| cookie != settings.netns)
    });
    if filters && elsewhere {
        bail!(
            "this instance is attached in another network namespace; run `natbpf --netns NAME --instance NAME detach`, \
             or, if that namespace is gone, remove what is pinned: rm -r {}",
            pins.folder().display()
        );
    }
    Ok(())
}
