//! Rules of a network namespace, as the commands of iptables and nftables print them. They are read as `natbpf import`
//! reads them.

use std::{fs, net::Ipv4Addr, process::Command};

use crate::import::model::{At, Fate, Packet, Rules};

/// What prints them. nft shows those of iptables, too, but not what their extensions are about.
const PROGRAMS: [Source; 3] = [Source::Iptables, Source::Legacy, Source::Nftables];

/// Who shows rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// iptables on nf_tables.
    Iptables,
    /// iptables on ip_tables.
    Legacy,
    Nftables,
}

impl Source {
    const fn command(self) -> &'static [&'static str] {
        match self {
            Self::Iptables => &["iptables-nft-save"],
            Self::Legacy => &["iptables-legacy-save"],
            Self::Nftables => &["nft", "-a", "list", "ruleset"],
        }
    }

    /// What an operator calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Legacy => "iptables-legacy",
            Self::Nftables => "nft",
        }
    }
}

/// All rules.
#[derive(Debug, Default)]
pub struct Firewall {
    sets: Vec<Set>,
    /// Some rules could not be looked at.
    partial: bool,
}

/// What one program has printed.
#[derive(Debug)]
pub struct Set {
    pub source: Source,
    pub text: String,
    /// `None`: there is nothing in it that can be read.
    rules: Option<Rules>,
}

/// A rule that drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drop {
    pub source: Source,
    /// As it is printed: a rule, or the policy of a chain.
    pub text: String,
}

impl Firewall {
    /// Whether all rules were seen, so that what is in none of them is nowhere.
    pub const fn is_complete(&self) -> bool {
        !self.partial
    }

    pub fn sets(&self) -> &[Set] {
        &self.sets
    }

    /// What drops a new packet that is passed on. What is not understood of a rule is taken to let the packet pass.
    pub fn drops(&self, packet: &Packet) -> Option<Drop> {
        self.sets.iter().find_map(|set| set.drops(packet))
    }

    /// What becomes of its source address where it leaves.
    pub fn translation(&self, packet: &Packet) -> Option<Fate> {
        let fate = |set: &Set| {
            let (fate, _) = set.rules.as_ref()?.fate(At::Postrouting, packet, &|_| true);
            (fate != Fate::Untouched).then_some(fate)
        };
        self.sets.iter().find_map(fate)
    }

    /// Whether any line of any set has this in it.
    pub fn lines<'a>(&'a self, part: &'a str) -> impl Iterator<Item = (Source, &'a str)> {
        let lines = self.sets.iter().flat_map(|set| set.text.lines().map(|line| (set.source, line.trim())));
        lines.filter(move |(_, line)| line.contains(part))
    }
}

impl Set {
    fn drops(&self, packet: &Packet) -> Option<Drop> {
        let rules = self.rules.as_ref()?;
        let lets_pass = |line: usize| !self.line(line).is_some_and(is_refusal);
        let line = rules.dropped(packet, packet, &lets_pass)?;
        Some(Drop { source: self.source, text: self.line(line)?.to_owned() })
    }

    fn line(&self, number: usize) -> Option<&str> {
        self.text.lines().nth(number.checked_sub(1)?).map(str::trim)
    }
}

fn is_refusal(rule: &str) -> bool {
    let words = || rule.split_whitespace();
    words().any(|word| matches!(word, "DROP" | "REJECT" | "drop" | "reject"))
}

/// The first packet of a flow, passed on from one device to another.
pub fn packet(input: &str, output: &str, source: Ipv4Addr, destination: Ipv4Addr) -> Packet {
    Packet {
        input: input.to_owned(),
        output: output.to_owned(),
        source,
        destination,
        protocol: 1,
        source_port: 0,
        port: 0,
        to_host: false,
        from_host: false,
        redirected: false,
        established: false,
    }
}

/// Those of the namespace of the calling thread, and what could not be looked at. `within` names the namespace in a
/// sentence.
pub fn look(within: &str) -> (Firewall, Vec<String>) {
    let mut unseen = Vec::new();
    let mut sets = Vec::new();
    let mut shown = false;
    for source in PROGRAMS {
        if source == Source::Legacy && !has_legacy_tables() {
            continue;
        }
        match print(source) {
            Ok(text) => {
                shown |= source != Source::Legacy;
                if !text.trim().is_empty() {
                    let rules = Rules::parse(&text).ok();
                    sets.push(Set { source, text, rules });
                }
            }
            // Both show what iptables has written.
            Err(_) if source == Source::Nftables && shown => {}
            Err(error) if source != Source::Iptables => {
                unseen.push(format!("rules of {}{}: {error}", source.name(), within));
            }
            Err(_) => {}
        }
    }
    (Firewall { sets, partial: !unseen.is_empty() }, unseen)
}

/// Whether ip_tables is used. To ask for its tables would make them.
fn has_legacy_tables() -> bool {
    fs::read_to_string("/proc/thread-self/net/ip_tables_names").is_ok_and(|names| !names.trim().is_empty())
}

/// The text, or why there is none.
fn print(source: Source) -> Result<String, String> {
    let [program, arguments @ ..] = source.command() else { return Ok(String::new()) };
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output();
    match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("`{program}` is not installed"))
        }
        Err(error) => Err(format!("`{program}`: {error}")),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("`{program}`: {}", said.lines().next().unwrap_or("it failed")))
        }
        Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}
