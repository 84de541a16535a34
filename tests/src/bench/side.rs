//! What is compared: translators, and limits without translation.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::measure::Measure;
use crate::addresses::INSIDE;
use crate::gateway::natbpf::binary;
use crate::process::Cmd;
use crate::traffic::Direction;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// The kernel forwards, nothing translates
    Plain,
    /// iptables -j MASQUERADE
    Iptables,
    /// nft masquerade
    Nft,
    /// natbpf translates at the uplink, all else is the kernel's (--offload off)
    Edge,
    /// natbpf at TC hooks with offload: redirect to the uplink, peer redirect to the instance
    Offload,
    /// natbpf at XDP with offload
    Xdp,
    /// bpf_redirect at TC and nothing else
    BareTc,
    /// bpf_redirect_peer at TC and nothing else, toward the instance
    BarePeer,
    /// A devmap redirect at XDP and nothing else
    BareXdp,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain forwarding",
            Self::Iptables => "iptables MASQUERADE",
            Self::Nft => "nft masquerade",
            Self::Edge => "natbpf edge",
            Self::Offload => "natbpf offload",
            Self::Xdp => "natbpf XDP",
            Self::BareTc => "bare TC redirect",
            Self::BarePeer => "bare TC peer redirect",
            Self::BareXdp => "bare XDP redirect",
        }
    }

    pub const fn is_natbpf(self) -> bool {
        matches!(self, Self::Edge | Self::Offload | Self::Xdp)
    }

    pub const fn is_netfilter(self) -> bool {
        matches!(self, Self::Iptables | Self::Nft)
    }

    /// Whether the outside sees the gateway's address.
    pub const fn translates(self) -> bool {
        self.is_natbpf() || self.is_netfilter()
    }

    const fn is_bare(self) -> bool {
        matches!(self, Self::BareTc | Self::BarePeer | Self::BareXdp)
    }

    /// Frames pass without a socket buffer.
    pub const fn is_xdp(self) -> bool {
        matches!(self, Self::Xdp | Self::BareXdp)
    }

    fn has(self, measure: Measure) -> bool {
        match measure {
            // There is no flow, and the host's own packets meet no program.
            Measure::NewFlows | Measure::Host => !self.is_bare(),
            // Toward the uplink it is the plain redirect: the far end is not in a namespace of this machine.
            Measure::Packets { direction: Direction::Original, .. } => self != Self::BarePeer,
            Measure::Memory => self.is_natbpf() || self == Self::Iptables,
            Measure::Housekeeping { .. } => self.is_natbpf(),
            _ => true,
        }
    }

    /// What is added to `natbpf masquerade`, by which options it knows; the option it lacks, if it does.
    ///
    /// The only place that knows how each of natbpf's ways is asked for.
    pub fn natbpf_args(self, known: impl Fn(&str) -> bool) -> Result<Vec<&'static str>, &'static str> {
        let (needed, mut args): (&[&str], Vec<_>) = match self {
            // Before there was offload there was nothing else.
            Self::Edge if !known("--offload") => (&[], vec![]),
            Self::Edge => (&[], vec!["--offload", "off"]),
            Self::Offload => (&["--offload", "--port"], vec!["--offload", "on", "--port", "port1"]),
            Self::Xdp => (
                &["--offload", "--port", "--hook"],
                vec!["--offload", "on", "--port", "port1", "--hook", "xdp"],
            ),
            _ => (&[], vec![]),
        };
        if let Some(missing) = needed.iter().find(|option| !known(option)) {
            return Err(missing);
        }
        if matches!(self, Self::Edge | Self::Offload) && known("--hook") {
            args.extend(["--hook", "tc"]);
        }
        Ok(args)
    }
}

/// One that takes part in a run.
#[derive(Clone, Debug)]
pub struct Side {
    pub kind: Kind,
    name: String,
    /// Another natbpf than the one that was built with this program.
    against: bool,
    /// natbpf and its arguments.
    pub natbpf: Option<(PathBuf, Vec<String>)>,
}

impl Side {
    /// Whether a measure says anything of it.
    pub fn has(&self, measure: Measure) -> bool {
        // This program goes through the tables itself, of which another version may have others.
        self.kind.has(measure) && !(self.against && matches!(measure, Measure::Housekeeping { .. }))
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Those that take part, and a line for each that cannot.
#[derive(Debug, Default)]
pub struct Sides {
    pub all: Vec<Side>,
    pub left_out: Vec<String>,
}

impl Sides {
    /// `wanted`, or all; natbpf's with the binary that was built, and with `against`.
    pub fn choose(wanted: &[Kind], against: Option<&PathBuf>, max_flows: u32) -> Result<Self> {
        let wanted = if wanted.is_empty() { Kind::value_variants() } else { wanted };
        let mut sides = Self::default();
        for kind in wanted.iter().filter(|kind| !kind.is_natbpf()) {
            sides.all.push(Side { kind: *kind, name: kind.name().to_owned(), against: false, natbpf: None });
        }
        let natbpf: Vec<Kind> = wanted.iter().copied().filter(|kind| kind.is_natbpf()).collect();
        if !natbpf.is_empty() {
            sides.add_natbpf(&natbpf, &binary()?, false, max_flows)?;
            if let Some(path) = against {
                sides.add_natbpf(&natbpf, path, true, max_flows)?;
            }
        }
        sides.all.sort_by_key(|side| side.kind);
        Ok(sides)
    }

    fn add_natbpf(&mut self, kinds: &[Kind], path: &PathBuf, against: bool, max_flows: u32) -> Result<()> {
        let help = Cmd::new(path).args(["masquerade", "--help"]).output_text();
        let help = help.with_context(|| format!("{} is not a natbpf", path.display()))?;
        for kind in kinds {
            let name = format!("{}{}", kind.name(), if against { " (against)" } else { "" });
            match kind.natbpf_args(|option| has_option(&help, option)) {
                Ok(added) => {
                    let max_flows = max_flows.to_string();
                    let base = ["masquerade", "-o", "wan", "-s", INSIDE, "--max-flows", &max_flows];
                    // A hundred instances share a million flows; more than by default may be one's.
                    let quota = ["--max-flows-per-source", "0"];
                    let args = [&base[..], &quota, &added].concat().into_iter().map(str::to_owned).collect();
                    let natbpf = Some((path.clone(), args));
                    self.all.push(Side { kind: *kind, name, against, natbpf });
                }
                Err(option) => self
                    .left_out
                    .push(format!("{name}: `natbpf masquerade` of {} has no {option}", path.display())),
            }
        }
        Ok(())
    }
}

/// Whether a help text has an option, as a word of its own.
fn has_option(help: &str, option: &str) -> bool {
    help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|word| word == option)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_as_words() {
        let help = "  -i, --port <IF>  A port\n      --to-ports <A-B>\n      --offload[=on] see `--hooks`";
        assert!(has_option(help, "--port"));
        assert!(has_option(help, "--offload"));
        assert!(!has_option(help, "--hook"));
        assert!(!has_option("--to-ports --ports", "--port"));
    }

    #[test]
    fn natbpf_without_an_option_lacks_the_sides_that_need_it() {
        let old = |_: &str| false;
        assert_eq!(Kind::Edge.natbpf_args(old), Ok(vec![]));
        assert_eq!(Kind::Offload.natbpf_args(old), Err("--offload"));
        let without_xdp = |option: &str| option != "--hook";
        assert_eq!(Kind::Edge.natbpf_args(without_xdp), Ok(vec!["--offload", "off"]));
        assert_eq!(Kind::Offload.natbpf_args(without_xdp).map(|args| args.len()), Ok(4));
        assert_eq!(Kind::Xdp.natbpf_args(without_xdp), Err("--hook"));
        assert_eq!(
            Kind::Xdp.natbpf_args(|_| true).map(|args| args.join(" ")).as_deref(),
            Ok("--offload on --port port1 --hook xdp")
        );
    }
}
