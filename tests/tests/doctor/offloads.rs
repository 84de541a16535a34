//! What is worth knowing of virtual devices.

use anyhow::Result;

use super::examination::{Examination, healthy};

#[test]
fn checksums_are_not_left_to_others() -> Result<()> {
    let lab = healthy()?;
    lab.gw.cmd("ethtool").args(["-K", "port1", "tx", "off"]).run()?;
    Examination::of(&lab.natbpf_cli()?)?.notes("offloads-off", "port1")
}

#[test]
fn no_machine_has_the_tap() -> Result<()> {
    let lab = healthy()?;
    lab.gw.ip("tuntap add dev tap9 mode tap\nlink set tap9 master br0 up")?;
    Examination::of(&lab.natbpf_cli()?)?.notes("tap-without-machine", "tap9")
}
