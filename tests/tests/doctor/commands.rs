//! What the doctor says is to be typed by root, and names in it are chosen by others.

use anyhow::{Result, ensure};

use super::examination::{Examination, healthy};

/// A name that a device may have, and that is more than a name to a shell and to a terminal.
const NAME: &str = "$(id);'\u{1b}[2J";

#[test]
fn a_name_is_nothing_but_a_name() -> Result<()> {
    let lab = healthy()?;
    lab.gw.cmd("ip").args(["link", "set", "br0", "down", "name", NAME]).run()?;
    lab.gw.cmd("ip").args(["link", "set", NAME, "up"]).run()?;
    lab.gw.wait_for_carriers()?;
    let cli = lab.natbpf_cli()?;
    Examination::of(&cli)?.is_healthy()?;

    lab.gw.cmd("sysctl").args(["-w", &format!("net/ipv4/conf/{NAME}/forwarding=0")]).run()?;
    let found = Examination::of(&cli)?;
    found.is_alone("forwarding-off-device", NAME)?;
    let text = String::from_utf8(cli.cmd().arg("doctor").output()?.stdout)?;
    ensure!(text.contains("\\u{1b}[2J") && !text.contains('\u{1b}'), "{text}");
    found.mends(&lab.gw)?;
    Examination::of(&cli)?.is_healthy()
}
