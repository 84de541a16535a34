//! What is compared: translators, what repeats their work, and limits without translation.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::measure::Measure;
use super::setting::{Setting, Topology};
use crate::addresses::{Family, INSIDE};
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
    /// natbpf accelerate at TC hooks, beside iptables -j MASQUERADE; of a bridge, beside nothing
    Accelerate,
    /// The same at XDP
    AccelerateXdp,
    /// natbpf accelerate at TC hooks, beside nft masquerade
    AccelerateNft,
    /// The same at XDP
    AccelerateXdpNft,
    /// natbpf accelerate at TC hooks, where the kernel forwards and nothing translates
    AcceleratePlain,
    /// The same at XDP
    AccelerateXdpPlain,
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
            Self::Accelerate => "natbpf accelerate",
            Self::AccelerateXdp => "natbpf accelerate XDP",
            Self::AccelerateNft => "natbpf accelerate, nft",
            Self::AccelerateXdpNft => "natbpf accelerate XDP, nft",
            Self::AcceleratePlain => "natbpf accelerate, plain",
            Self::AccelerateXdpPlain => "natbpf accelerate XDP, plain",
            Self::BareTc => "bare TC redirect",
            Self::BarePeer => "bare TC peer redirect",
            Self::BareXdp => "bare XDP redirect",
        }
    }

    pub const fn is_natbpf(self) -> bool {
        self.is_own_nat() || self.is_accelerate()
    }

    /// natbpf translates.
    pub const fn is_own_nat(self) -> bool {
        matches!(self, Self::Edge | Self::Offload | Self::Xdp)
    }

    /// natbpf repeats what others do.
    pub const fn is_accelerate(self) -> bool {
        matches!(self, Self::Accelerate | Self::AccelerateNft | Self::AcceleratePlain)
            || self.is_accelerate_xdp()
    }

    const fn is_accelerate_xdp(self) -> bool {
        matches!(self, Self::AccelerateXdp | Self::AccelerateXdpNft | Self::AccelerateXdpPlain)
    }

    /// What the router is told where there is one.
    const fn rules(self) -> Rules {
        match self {
            Self::Iptables | Self::Accelerate | Self::AccelerateXdp => Rules::Iptables,
            Self::Nft | Self::AccelerateNft | Self::AccelerateXdpNft => Rules::Nft,
            _ => Rules::None,
        }
    }

    const fn is_bare(self) -> bool {
        matches!(self, Self::BareTc | Self::BarePeer | Self::BareXdp)
    }

    /// Frames pass without a socket buffer.
    pub const fn is_xdp(self) -> bool {
        matches!(self, Self::Xdp | Self::BareXdp) || self.is_accelerate_xdp()
    }

    /// Why it is not in a setting, if it is not.
    pub const fn lacks(self, setting: Setting) -> Option<&'static str> {
        let bridged = matches!(setting.topology, Topology::Bridge);
        let real = setting.topology.platform().is_some();
        match self {
            Self::Edge | Self::Offload | Self::Xdp if !matches!(setting.topology, Topology::Gateway) => {
                Some("natbpf's own NAT needs the topology gateway")
            }
            Self::Edge | Self::Offload | Self::Xdp if matches!(setting.family, Family::V6) => {
                Some("natbpf's own NAT is of IPv4")
            }
            Self::Iptables | Self::Nft if real => Some("the rules are the platform's: compare with `plain`"),
            Self::AccelerateNft
            | Self::AccelerateXdpNft
            | Self::AcceleratePlain
            | Self::AccelerateXdpPlain
                if real =>
            {
                Some("the rules are the platform's, with which `accelerate` is")
            }
            Self::Iptables | Self::Nft if bridged => Some("nothing routes in the topology bridge"),
            Self::AccelerateNft | Self::AccelerateXdpNft if bridged => {
                Some("nothing routes in the topology bridge")
            }
            Self::AcceleratePlain | Self::AccelerateXdpPlain if bridged => {
                Some("nothing routes in the topology bridge, where `accelerate` is without rules")
            }
            _ => None,
        }
    }

    fn has(self, measure: Measure, setting: Setting) -> bool {
        let real = setting.topology.platform().is_some();
        match measure {
            // The platform's tables have other sizes; what XDP needs of the ends would stay with a host that others
            // are measured on; and who asks a published port is outside.
            Measure::Memory if real => false,
            Measure::Stream { .. } if real && self.is_xdp() => false,
            // There is no flow.
            Measure::NewFlows => !self.is_bare(),
            // The host's own packets meet no program of these, and elsewhere the host has no address.
            Measure::Host => !self.is_bare() && setting.topology == Topology::Gateway,
            // Toward the uplink it is the plain redirect: the far end is not in a namespace of this machine.
            Measure::Packets { direction: Direction::Original, .. } => self != Self::BarePeer,
            Measure::Memory => self.is_natbpf() || self == Self::Iptables,
            Measure::Housekeeping { .. } => self.is_own_nat(),
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

/// What translates in the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    None,
    Iptables,
    Nft,
}

/// How natbpf is started.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    Arguments(Vec<String>),
    /// `natbpf accelerate` between the edges of the site.
    Accelerate {
        hook: &'static str,
        max_flows: u32,
    },
}

/// One that takes part in a run.
#[derive(Clone, Debug)]
pub struct Side {
    pub kind: Kind,
    pub setting: Setting,
    name: String,
    /// Another natbpf than the one that was built with this program.
    against: bool,
    pub natbpf: Option<(PathBuf, Start)>,
    /// `natbpf trace` looks at one packet in so many meanwhile.
    pub trace: Option<u32>,
}

impl Side {
    /// Whether a measure says anything of it.
    pub fn has(&self, measure: Measure) -> bool {
        // This program goes through the tables itself, of which another version may have others.
        self.kind.has(measure, self.setting)
            && !(self.against && matches!(measure, Measure::Housekeeping { .. }))
    }

    /// What translates beside natbpf, or without it.
    pub fn rules(&self) -> Rules {
        match self.setting.topology {
            Topology::Gateway | Topology::Host => self.kind.rules(),
            _ => Rules::None,
        }
    }

    /// Whether it repeats packets, and its tables are those of this version.
    pub fn repeats(&self) -> bool {
        self.kind.is_natbpf() && self.kind != Kind::Edge && !self.against
    }

    /// Whether the outside sees the gateway's address.
    pub fn translates(&self) -> bool {
        self.kind.is_own_nat() || self.is_tracked() || self.platform_translates()
    }

    fn platform_translates(&self) -> bool {
        let topology = self.setting.topology;
        topology.platform().is_some() && !topology.is_a_pair() && !self.kind.is_bare()
    }

    /// Whether netfilter tracks the connections.
    pub fn is_tracked(&self) -> bool {
        self.rules() != Rules::None
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
    /// `wanted`, or all that a setting has; natbpf's with the binary that was built, and with `against`.
    pub fn choose(
        wanted: &[Kind],
        setting: Setting,
        against: Option<&PathBuf>,
        max_flows: u32,
    ) -> Result<Self> {
        let mut sides = Self::default();
        for kind in wanted {
            if let Some(reason) = kind.lacks(setting) {
                sides.left_out.push(format!("{}: {reason}", kind.name()));
            }
        }
        let wanted = if wanted.is_empty() { Kind::value_variants() } else { wanted };
        let wanted: Vec<Kind> = wanted.iter().copied().filter(|kind| kind.lacks(setting).is_none()).collect();
        for kind in wanted.iter().copied().filter(|kind| !kind.is_natbpf()) {
            let name = kind.name().to_owned();
            sides.all.push(Side { kind, setting, name, against: false, natbpf: None, trace: None });
        }
        let natbpf: Vec<Kind> = wanted.into_iter().filter(|kind| kind.is_natbpf()).collect();
        if !natbpf.is_empty() {
            sides.add_natbpf(&natbpf, setting, &binary()?, false, max_flows)?;
            if let Some(path) = against {
                sides.add_natbpf(&natbpf, setting, path, true, max_flows)?;
            }
        }
        sides.all.sort_by_key(|side| side.kind);
        Ok(sides)
    }

    /// Adds natbpf's sides once more, traced: one packet in so many.
    pub fn add_traced(&mut self, sample: u32) {
        let traced = self.all.iter().filter(|side| side.natbpf.is_some() && !side.against);
        let traced: Vec<_> = traced
            .map(|side| Side {
                name: format!("{side}, 1 in {sample} traced"),
                trace: Some(sample),
                ..side.clone()
            })
            .collect();
        self.all.extend(traced);
        self.all.sort_by_key(|side| side.kind);
    }

    fn add_natbpf(
        &mut self,
        kinds: &[Kind],
        setting: Setting,
        path: &PathBuf,
        against: bool,
        max_flows: u32,
    ) -> Result<()> {
        let help = Cmd::new(path).arg("--help").output_text();
        let commands = help.with_context(|| format!("{} is not a natbpf", path.display()))?;
        let help = Cmd::new(path).args(["masquerade", "--help"]).output_text()?;
        for kind in kinds.iter().copied() {
            let name = format!("{}{}", kind.name(), if against { " (against)" } else { "" });
            let start = if !kind.is_accelerate() {
                own_nat(kind, &help, max_flows)
                    .map_err(|option| format!("`natbpf masquerade` has no {option}"))
            } else if has_word(&commands, "accelerate") {
                Ok(Start::Accelerate { hook: if kind.is_xdp() { "xdp" } else { "tc" }, max_flows })
            } else {
                Err("there is no `natbpf accelerate`".to_owned())
            };
            match start {
                Ok(start) => {
                    let natbpf = Some((path.clone(), start));
                    self.all.push(Side { kind, setting, name, against, natbpf, trace: None });
                }
                Err(reason) => self.left_out.push(format!("{name} of {}: {reason}", path.display())),
            }
        }
        Ok(())
    }
}

/// The option that it lacks, if it does.
fn own_nat(kind: Kind, help: &str, max_flows: u32) -> Result<Start, &'static str> {
    let added = kind.natbpf_args(|option| has_word(help, option))?;
    let max_flows = max_flows.to_string();
    let base = ["masquerade", "-o", "wan", "-s", INSIDE, "--max-flows", &max_flows];
    // A hundred instances share a million flows; more than by default may be one's.
    let quota = ["--max-flows-per-source", "0"];
    Ok(Start::Arguments([&base[..], &quota, &added].concat().into_iter().map(str::to_owned).collect()))
}

/// Whether a help text has an option or a command, as a word of its own.
fn has_word(help: &str, wanted: &str) -> bool {
    help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|word| word == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_as_words() {
        let help = "  -i, --port <IF>  A port\n      --to-ports <A-B>\n      --offload[=on] see `--hooks`";
        assert!(has_word(help, "--port"));
        assert!(has_word(help, "--offload"));
        assert!(!has_word(help, "--hook"));
        assert!(!has_word("--to-ports --ports", "--port"));
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

    #[test]
    fn a_side_that_is_not_in_a_setting_is_left_out_where_it_is_named() -> Result<()> {
        let setting = |topology, family| Setting { topology, family };
        let bridge = setting(Topology::Bridge, Family::V4);
        let sides = Sides::choose(&[Kind::Plain, Kind::Iptables, Kind::Edge], bridge, None, 1)?;
        assert_eq!(sides.all.iter().map(Side::to_string).collect::<Vec<_>>(), ["plain forwarding"]);
        assert_eq!(
            sides.left_out,
            [
                "iptables MASQUERADE: nothing routes in the topology bridge",
                "natbpf edge: natbpf's own NAT needs the topology gateway"
            ]
        );
        let here = |setting| Kind::value_variants().iter().filter(move |kind| kind.lacks(setting).is_none());
        assert_eq!(here(setting(Topology::Gateway, Family::V4)).count(), Kind::value_variants().len());
        assert!(here(setting(Topology::Gateway, Family::V6)).all(|kind| !kind.is_own_nat()));
        assert!(here(setting(Topology::Host, Family::V4)).all(|kind| !kind.is_own_nat()));
        assert_eq!(here(bridge).filter(|kind| kind.is_accelerate()).count(), 2);
        Ok(())
    }

    #[test]
    fn rules_translate_where_something_routes() {
        let side = |kind, topology| Side {
            kind,
            setting: Setting { topology, family: Family::V6 },
            name: String::new(),
            against: false,
            natbpf: None,
            trace: None,
        };
        assert_eq!(side(Kind::AccelerateXdpNft, Topology::Host).rules(), Rules::Nft);
        assert!(side(Kind::Accelerate, Topology::Gateway).translates());
        assert!(!side(Kind::Accelerate, Topology::Bridge).translates());
        assert!(!side(Kind::AcceleratePlain, Topology::Host).is_tracked());
        assert!(side(Kind::Edge, Topology::Gateway).translates());
    }
}
