//! What translates in the gateway: natbpf, or iptables to compare with.

use std::fmt::Write;
use std::time::{Duration, Instant};
use std::{fmt, thread};

use anyhow::{Result, bail};

use crate::flows::{self, Flow};
use crate::natbpf::Natbpf;
use crate::netns::Namespace;
use crate::topology::Lab;

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

/// One masquerade, said once for both translators.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    out: String,
    sources: Vec<String>,
    except: Vec<String>,
    to_ports: Option<(u16, u16)>,
    random: bool,
}

impl Rule {
    /// Translates what leaves through `out`, from any source until [`Rule::source`] names some.
    pub fn new(out: &str) -> Self {
        Self { out: out.to_owned(), ..Self::default() }
    }

    pub fn source(mut self, network: &str) -> Self {
        self.sources.push(network.to_owned());
        self
    }

    /// Leaves packets to `network` alone.
    pub fn except(mut self, network: &str) -> Self {
        self.except.push(network.to_owned());
        self
    }

    pub fn to_ports(mut self, first: u16, last: u16) -> Self {
        self.to_ports = Some((first, last));
        self
    }

    pub fn random(mut self) -> Self {
        self.random = true;
        self
    }

    /// The arguments of `natbpf masquerade`.
    pub fn natbpf_args(&self) -> Vec<String> {
        let mut args = vec!["-o".to_owned(), self.out.clone()];
        let mut option = |name: &str, value: &str| args.extend([name.to_owned(), value.to_owned()]);
        self.sources.iter().for_each(|source| option("-s", source));
        self.except.iter().for_each(|network| option("--except", network));
        if let Some((first, last)) = self.to_ports {
            option("--to-ports", &format!("{first}-{last}"));
        }
        if self.random {
            args.push("--random".to_owned());
        }
        args
    }

    /// A `[[masquerade]]` table of natbpf's configuration.
    pub fn toml(&self) -> String {
        let mut text = format!("[[masquerade]]\nout = {:?}\n", self.out);
        let mut line = |name: &str, value: &dyn fmt::Debug| {
            let _ = writeln!(text, "{name} = {value:?}");
        };
        if !self.sources.is_empty() {
            line("source", &self.sources);
        }
        if !self.except.is_empty() {
            line("except", &self.except);
        }
        if let Some((first, last)) = self.to_ports {
            line("to_ports", &format!("{first}-{last}"));
        }
        if self.random {
            line("random", &true);
        }
        text
    }

    /// The arguments of iptables(8), a command each.
    pub fn iptables_args(&self) -> Vec<String> {
        let random = if self.random { " --random" } else { "" };
        let mut targets = Vec::new();
        targets.extend(self.except.iter().map(|network| format!("-d {network} -j RETURN")));
        if let Some((first, last)) = self.to_ports {
            let target = |protocol| format!("-p {protocol} -j MASQUERADE --to-ports {first}-{last}{random}");
            targets.extend(["tcp", "udp"].map(target));
        }
        targets.push(format!("-j MASQUERADE{random}"));
        let sources = match self.sources.is_empty() {
            true => vec![String::new()],
            false => self.sources.iter().map(|source| format!("-s {source} ")).collect(),
        };
        let lines = sources.iter().flat_map(|source| {
            targets
                .iter()
                .map(move |target| format!("-t nat -A POSTROUTING {source}-o {} {target}", self.out))
        });
        lines.collect()
    }
}

/// A translator at work in the gateway of a [`Lab`].
#[derive(Debug)]
pub enum Translation<'a> {
    Natbpf(Natbpf),
    Iptables(&'a Namespace),
    None,
}

impl<'a> Translation<'a> {
    pub(crate) fn start(lab: &'a Lab, kind: Kind, rules: &[Rule]) -> Result<Self> {
        match kind {
            Kind::Natbpf => Ok(Self::Natbpf(Natbpf::for_rules(lab, rules)?)),
            Kind::Iptables => {
                for args in rules.iter().flat_map(Rule::iptables_args) {
                    lab.gw.cmd("iptables").args(args.split(' ')).run()?;
                }
                Ok(Self::Iptables(&lab.gw))
            }
            Kind::None => Ok(Self::None),
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
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn one_rule_three_spellings() {
        let rule =
            Rule::new("wan").source("10.0.0.0/24").except("10.9.0.0/16").to_ports(50000, 50003).random();
        let args = "-o wan -s 10.0.0.0/24 --except 10.9.0.0/16 --to-ports 50000-50003 --random";
        assert_eq!(rule.natbpf_args().join(" "), args);
        let toml = "[[masquerade]]\nout = \"wan\"\nsource = [\"10.0.0.0/24\"]\nexcept = [\"10.9.0.0/16\"]\n\
                    to_ports = \"50000-50003\"\nrandom = true\n";
        assert_eq!(rule.toml(), toml);
        let start = "-t nat -A POSTROUTING -s 10.0.0.0/24 -o wan";
        let lines = [
            format!("{start} -d 10.9.0.0/16 -j RETURN"),
            format!("{start} -p tcp -j MASQUERADE --to-ports 50000-50003 --random"),
            format!("{start} -p udp -j MASQUERADE --to-ports 50000-50003 --random"),
            format!("{start} -j MASQUERADE --random"),
        ];
        assert_eq!(rule.iptables_args(), lines);
    }
}
