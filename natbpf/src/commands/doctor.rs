//! `natbpf doctor`

use std::{process::ExitCode, thread, time::Duration};

use anyhow::Result;

use super::exit::UNSEEN;
use crate::{
    cli::{Cli, DoctorArgs},
    doctor::{Finding, Outcome, Report, examine, has_counted, recount, table, unknown},
    facts::Host,
    output,
};

/// Between two looks: who drops packets under load does so several times in it.
const PAUSE: Duration = Duration::from_secs(1);

pub fn run(cli: &Cli, arguments: DoctorArgs) -> Result<ExitCode> {
    if arguments.causes {
        return causes(arguments.json);
    }
    let look = || Host::look(cli.netns.as_deref(), &cli.bpffs);
    let report = match look() {
        Ok(host) => Report {
            findings: examined(&host, look),
            places: host.places.len(),
            unseen: unknown(&host).into_iter().chain(host.unseen).collect(),
        },
        Err(error) => Report::unseen(format!("{error:#}")),
    };
    tell(&report, arguments)
}

/// What was found, by a second look where the first one has found what may be over.
fn examined(host: &Host, look: impl Fn() -> Result<Host>) -> Vec<Finding> {
    let mut findings = examine(host);
    if has_counted(&findings) {
        thread::sleep(PAUSE);
        let later = look().map(|host| examine(&host)).unwrap_or_default();
        recount(&mut findings, &later);
    }
    findings
}

/// The same where there is nothing to look at.
pub fn outside(arguments: DoctorArgs, error: &anyhow::Error) -> Result<ExitCode> {
    if arguments.causes {
        return causes(arguments.json);
    }
    tell(&Report::unseen(format!("{error:#}")), arguments)
}

fn tell(report: &Report, arguments: DoctorArgs) -> Result<ExitCode> {
    if arguments.json {
        output::print(report.json())?;
    } else {
        output::print(report)?;
    }
    Ok(match report.outcome() {
        Outcome::Healthy => ExitCode::SUCCESS,
        Outcome::Found => ExitCode::from(1),
        Outcome::Unseen => ExitCode::from(UNSEEN),
    })
}

fn causes(json: bool) -> Result<ExitCode> {
    let table = table();
    if json {
        let causes = table.iter().map(|cause| {
            serde_json::json!({ "cause": cause.name, "severity": cause.severity.name(),
                                "stage": cause.stage.name(), "title": cause.title })
        });
        output::print(causes.collect::<serde_json::Value>())?;
    } else {
        for cause in table {
            output::print(format_args!("{:28} {:8} {}", cause.name, cause.severity.name(), cause.title))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
