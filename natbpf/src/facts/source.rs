//! The programs that show rules.

use std::{fs, io::ErrorKind, process::Command};

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
    /// In the order in which they are asked. nft shows those of iptables, too, but not what their extensions are about.
    pub const ALL: [Self; 3] = [Self::Iptables, Self::Legacy, Self::Nftables];

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

    /// Whether it may be asked: to ask for legacy tables that are not used would make them.
    pub fn is_used(self) -> bool {
        let names = || fs::read_to_string("/proc/thread-self/net/ip_tables_names");
        self != Self::Legacy || names().is_ok_and(|names| !names.trim().is_empty())
    }

    /// The rules of the namespace of the calling thread, or why there are none.
    pub fn print(self) -> Result<String, String> {
        let [program, arguments @ ..] = self.command() else { return Ok(String::new()) };
        let output = Command::new(program).args(arguments).env("LC_ALL", "C").output();
        match output {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(format!("`{program}` is not installed")),
            Err(error) => Err(format!("`{program}`: {error}")),
            Ok(output) if !output.status.success() => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(format!("`{program}`: {}", said.lines().next().unwrap_or("it failed")))
            }
            Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        }
    }
}
