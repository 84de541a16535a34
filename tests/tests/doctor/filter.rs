//! Rules that drop.

use anyhow::Result;

use super::examination::names;

#[test]
fn the_policy_of_forward_is_drop() -> Result<()> {
    names("forward-dropped", ":FORWARD DROP [0:0]", |lab| {
        lab.gw.cmd("iptables").args(["-P", "FORWARD", "DROP"]).run()
    })
}
