//! What translates in the gateway: natbpf, or iptables to compare with.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{fmt, thread};

use anyhow::{Context, Result, bail, ensure};

use super::flows::{self, Flow};
use super::natbpf::{Cli, Natbpf};
use super::setup::Setup;
use crate::netns::Namespace;

/// Which translator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Natbpf,
    Iptables,
    /// Nothing translates: shows that the lab would notice.
    None,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Natbpf => "natbpf",
            Self::Iptables => "iptables",
            Self::None => "no translation",
        })
    }
}

/// Those of a bed for rules: the second one has been added to it.
const UPLINKS: [&str; 2] = ["wan", "wan2"];

/// A translator at work in a gateway.
#[derive(Debug)]
pub enum Translation<'a> {
    Natbpf(Natbpf),
    Iptables(&'a Namespace),
    None,
}

impl<'a> Translation<'a> {
    /// Starts `kind` in `gw`, where natbpf calls itself `instance`.
    pub(crate) fn start(gw: &'a Namespace, instance: &str, kind: Kind, setup: &Setup) -> Result<Self> {
        match kind {
            Kind::Natbpf => Ok(Self::Natbpf(Natbpf::for_setup(&Cli::new(gw, instance)?, setup)?)),
            Kind::Iptables => {
                for (address, device) in setup.extra_addresses() {
                    gw.ip(&format!("addr add {address}/32 dev {device}"))?;
                }
                for args in setup.iptables_args() {
                    gw.cmd("iptables").args(args.split(' ')).run()?;
                }
                for (name, seconds) in setup.sysctls() {
                    gw.sysctl(&name, &seconds.to_string())?;
                }
                Ok(Self::Iptables(gw))
            }
            Kind::None => Ok(Self::None),
        }
    }

    /// Goes over to another configuration; what runs goes on. natbpf has to have been started from a file
    /// ([`Setup::in_a_file`]).
    pub fn change(&mut self, setup: &Setup) -> Result<()> {
        match self {
            Self::Natbpf(natbpf) => natbpf.reconfigure(&setup.toml()),
            Self::Iptables(gw) => restore(gw, &save_text(&setup.iptables_args())),
            Self::None => Ok(()),
        }
    }

    /// Starts `kind` with what `iptables-save` wrote, which natbpf imports.
    pub(crate) fn start_rules(gw: &'a Namespace, instance: &str, kind: Kind, save: &str) -> Result<Self> {
        match kind {
            Kind::Natbpf => {
                let cli = Cli::new(gw, instance)?;
                let (toml, _) = cli.import_for(&UPLINKS, save)?;
                Ok(Self::Natbpf(Natbpf::for_toml(&cli, &toml)?))
            }
            Kind::Iptables => restore(gw, save).map(|()| Self::Iptables(gw)),
            Kind::None => Ok(Self::None),
        }
    }

    /// Goes over to other rules, as [`Translation::change`].
    pub fn change_rules(&mut self, save: &str) -> Result<()> {
        match self {
            Self::Natbpf(natbpf) => {
                let (toml, _) = natbpf.cli().import_for(&UPLINKS, save)?;
                natbpf.reconfigure(&toml)
            }
            Self::Iptables(gw) => restore(gw, save),
            Self::None => Ok(()),
        }
    }

    /// Ends every flow.
    pub fn flush(&self) -> Result<()> {
        match self {
            // Its exit status says whether there was one.
            Self::Natbpf(natbpf) => natbpf.cli().output(["flows", "flush"]).map(drop),
            Self::Iptables(gw) => gw.cmd("conntrack").arg("-F").run(),
            Self::None => Ok(()),
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Natbpf(_) => Kind::Natbpf,
            Self::Iptables(_) => Kind::Iptables,
            Self::None => Kind::None,
        }
    }

    /// The flow table as text, for people.
    pub fn flows_text(&self) -> Result<String> {
        match self {
            Self::Natbpf(natbpf) => natbpf.flows_list(),
            Self::Iptables(gw) => gw.cmd("conntrack").arg("-L").output_text(),
            Self::None => Ok(String::new()),
        }
    }

    /// The flow table. That of iptables has the gateway's own flows too.
    pub fn flows(&self) -> Result<Vec<Flow>> {
        flows::parse(&self.flows_text()?)
    }

    /// Waits until the flow table satisfies `wanted`.
    ///
    /// # Errors
    /// When it does not after `limit`; the text has the table.
    pub fn wait_for_flows(&self, limit: Duration, wanted: impl Fn(&[Flow]) -> bool) -> Result<()> {
        let end = Instant::now() + limit;
        while !wanted(&self.flows()?) {
            if Instant::now() > end {
                bail!("the flow table of {} is still\n{}", self.kind(), self.flows_text()?);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The flow that began at this inside address and port (ICMP: identifier).
    pub fn flow_from(&self, protocol: &str, source: (Ipv4Addr, u16)) -> Result<Option<Flow>> {
        let is_it =
            |flow: &Flow| flow.protocol == protocol && (flow.original.src, flow.original.sport) == source;
        Ok(self.flows()?.into_iter().find(is_it))
    }

    /// Seconds until the flow that began at this inside address and port expires.
    ///
    /// # Errors
    /// When there is no such flow; the text has the table.
    pub fn remaining(&self, protocol: &str, source: (Ipv4Addr, u16)) -> Result<u32> {
        let flow = self.flow_from(protocol, source)?;
        let table = || self.flows_text().unwrap_or_default();
        let flow = flow.with_context(|| format!("no {protocol} flow from {source:?} in\n{}", table()))?;
        Ok(flow.timeout)
    }

    /// natbpf's daemon.
    ///
    /// # Errors
    /// When it is another translator: a row that asks for it is one for natbpf alone.
    pub fn natbpf(&mut self) -> Result<&mut Natbpf> {
        match self {
            Self::Natbpf(natbpf) => Ok(natbpf),
            other => bail!("{} is not natbpf", other.kind()),
        }
    }

    /// A counter of natbpf by the name in `natbpf status`, such as `no_port`.
    ///
    /// # Errors
    /// When there is none of that name, and for other translators.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let Self::Natbpf(natbpf) = self else { bail!("{} has no counter {name}", self.kind()) };
        natbpf.counter(name)
    }
}

/// What `iptables-restore` reads: the rules of both tables.
fn save_text(lines: &[String]) -> String {
    let rules = |filter: fn(&str) -> Option<&str>| -> String {
        lines.iter().filter_map(|line| filter(line)).map(|line| format!("{line}\n")).collect()
    };
    let nat = rules(|line| line.strip_prefix("-t nat "));
    let filter = rules(|line| (!line.starts_with("-t nat ")).then_some(line));
    format!("*nat\n{nat}COMMIT\n*filter\n{filter}COMMIT\n")
}

/// Exchanges the rules of the tables in it at a stroke.
fn restore(gw: &Namespace, save: &str) -> Result<()> {
    let (reader, mut writer) = io::pipe()?;
    let process = gw.cmd("iptables-restore").stdin(Stdio::from(reader)).spawn()?;
    writer.write_all(save.as_bytes())?;
    drop(writer);
    let output = process.finish(Duration::from_secs(20))?;
    ensure!(output.status.success(), "iptables-restore: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
