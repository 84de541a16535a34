//! What could not be looked at is said.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use lab::SERVER;

use super::asking::healthy;

const NOBODY: [&str; 4] = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];

#[test]
fn without_root_it_is_not_guessed() -> Result<()> {
    let node = healthy()?;
    // Where nobody may read, too.
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let copy = folder.path().join("natbpf");
    fs::copy(lab::gateway::natbpf::binary()?, &copy)?;
    let natbpf = node.host.cmd("setpriv").args(NOBODY).arg(&copy);
    let output = natbpf.args(["why", "--from", "tap0", "--send"]).arg(SERVER.to_string()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(3) && said.contains("run it as root"), "{said}");
    Ok(())
}

#[test]
fn who_is_not_there_cannot_be_asked_about() -> Result<()> {
    let node = healthy()?;
    let cli = node.natbpf_cli()?;
    let said = |arguments: &str| -> Result<(Option<i32>, String)> {
        let output = cli.output(["why"].into_iter().chain(arguments.split(' ')))?;
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    };
    let (status, text) = said("--from 10.9.9.9 203.0.113.10 --send")?;
    ensure!(status == Some(2) && text.contains("nothing here is called 10.9.9.9"), "{text}");
    let (status, text) = said("203.0.113.10 --send")?;
    ensure!(status == Some(2) && text.contains("tap0 (10.0.0.11)") && text.contains("tap1"), "{text}");
    let (status, _) = said("nowhere")?;
    ensure!(status == Some(2));
    Ok(())
}
