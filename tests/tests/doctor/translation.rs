//! Private addresses outside.

use anyhow::Result;

use super::examination::names;

#[test]
fn nothing_masquerades() -> Result<()> {
    names("not-translated", "10.0.0.0/24", |lab| lab.gw.cmd("iptables").args(["-t", "nat", "-F"]).run())
}
