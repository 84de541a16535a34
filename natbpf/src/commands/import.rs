//! `natbpf import`

use std::{
    fs,
    io::{self, Read as _},
    process::ExitCode,
};

use anyhow::{Context as _, Result};

use crate::{cli::ImportArgs, import, output};

/// Stands above what is printed.
const HEADER: &str = "\
# From rules of iptables or nftables. Filtering is as theirs; the mapping of ports and the limit of flows per source are
# natbpf's defaults: where only theirs will do, write profile = \"netfilter\" into a rule.
";

/// Prints the configuration, and on standard error what is not in it.
pub fn run(arguments: &ImportArgs) -> Result<ExitCode> {
    let name = arguments.file.display();
    let bytes = if arguments.file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
        bytes
    } else {
        fs::read(&arguments.file).with_context(|| {
            format!(
                "cannot read {name}; name a file that `iptables-save` or `nft list ruleset` wrote, or - for standard \
                 input"
            )
        })?
    };
    let import = import::import_bytes(&bytes, &arguments.uplink).with_context(|| name.to_string())?;
    // A reader of the one need not read the other.
    let printed = output::print(format_args!("{HEADER}\n{}", import.toml().trim_end_matches('\n')));
    let said = output::complain(&import);
    printed.and(said)?;
    Ok(ExitCode::SUCCESS)
}
