//! `natbpf import`

use std::{
    fs,
    io::{self, Read as _, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, Result};

use crate::{cli::ImportArgs, import};

/// Stands above what is printed.
const HEADER: &str = "\
# From the output of iptables-save. Mapping and filtering are natbpf's defaults, not those of iptables: where only the
# latter will do, write profile = \"netfilter\" into a rule.
";

/// Prints the configuration, and on standard error what is not in it.
pub fn run(arguments: &ImportArgs) -> Result<ExitCode> {
    let name = arguments.file.display();
    let text = if arguments.file.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        text
    } else {
        fs::read_to_string(&arguments.file).with_context(|| {
            format!("cannot read {name}; name a file that `iptables-save` wrote, or - for standard input")
        })?
    };
    let import = import::import(&text, arguments.uplink.as_deref()).with_context(|| name.to_string())?;
    io::stdout().write_all(format!("{HEADER}\n{}", import.toml()).as_bytes())?;
    eprintln!("{import}");
    Ok(ExitCode::SUCCESS)
}
