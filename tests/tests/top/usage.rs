//! What it says where there is nothing to be shown.

use anyhow::{Result, ensure};
use lab::Lab;
use lab::gateway::natbpf::Cli;

fn refuses(cli: &Cli, line: &str, status: i32, sentence: &str) -> Result<()> {
    let output = cli.output(line.split(' '))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(status) && said.contains(sentence) && output.stdout.is_empty(),
        "{line}: {output:?}"
    );
    Ok(())
}

#[test]
fn without_natbpf_there_is_nothing_to_be_read() -> Result<()> {
    let lab = Lab::new()?;
    let cli = lab.natbpf_cli()?;
    refuses(&cli, "top --once", 3, "natbpf is not attached")?;
    refuses(&cli, "top --once --json", 3, "start it with `natbpf run`")
}

#[test]
fn a_screen_needs_a_terminal_and_json_needs_once() -> Result<()> {
    let lab = Lab::new()?;
    let cli = lab.natbpf_cli()?;
    refuses(&cli, "top", 2, "use `natbpf top --once`")?;
    refuses(&cli, "top --json", 2, "--once")?;
    refuses(&cli, "top --once -n 0", 2, "from 0.1 to 3600")?;
    refuses(&cli, "top --once --sort size", 2, "possible values: packets, bits, name")
}
