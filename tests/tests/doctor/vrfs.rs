//! Devices in a VRF.

use anyhow::Result;
use lab::{Lab, Namespace, SERVER, isolate};

use super::examination::{Examination, healthy, is_cut_off, reaches};

/// Whether this kernel has VRFs; it says so where not. Those of `cargo xtask vm` have.
fn has_vrfs() -> Result<bool> {
    let _isolation = isolate()?;
    let made = Namespace::new("probe")?.ip("link add vrf0 type vrf table 10");
    match made {
        Err(error) if format!("{error:#}").contains("Unknown device type") => {
            eprintln!("this kernel has no VRFs: nothing was tried");
            Ok(false)
        }
        made => made.map(|()| true),
    }
}

/// A device is put into a VRF, and routes as they are proposed lead out of it again.
fn named(device: &str, enter: &str, leave: &str) -> Result<()> {
    if !has_vrfs()? {
        return Ok(());
    }
    let lab: Lab = healthy()?;
    let cli = lab.natbpf_cli()?;
    lab.gw.ip("link add vrf0 type vrf table 10\nlink set vrf0 up")?;
    reaches(&lab.vm1, SERVER, "-c 3")?;
    Examination::of(&cli)?.is_healthy()?;
    lab.gw.ip(enter)?;
    lab.wait_for_carriers()?;
    is_cut_off(&lab.vm1, SERVER)?;
    Examination::of(&cli)?.is_alone("vrf-apart", device)?;
    lab.gw.ip(leave)?;
    reaches(&lab.vm1, SERVER, "-c 3")?;
    Examination::of(&cli)?.is_healthy()
}

#[test]
fn a_network_is_in_a_vrf_and_the_way_out_is_not() -> Result<()> {
    named("br0", "link set br0 master vrf0", "route add 10.0.0.0/24 dev br0")
}

#[test]
fn the_way_out_is_in_a_vrf_and_a_network_is_not() -> Result<()> {
    named(
        "wan",
        "link set wan master vrf0\nroute add default via 203.0.113.10 dev wan table 10",
        "route add default via 203.0.113.10 dev wan\nroute add 10.0.0.0/24 dev br0 table 10",
    )
}
