//! The second uplink of some rows.

use crate::conformance::prelude::*;
use crate::netns::link::{Link, colons};

/// A second way to `far`, by the device `wan2` of 198.18.0.1/24; routes still lead by `wan`.
pub fn second_uplink(bed: &Bed) -> Result<()> {
    bed.gw.ip(&format!(
        "link add wan2 address {} type veth peer name eth1 address 02:00:c6:12:00:0a netns far\n\
         addr add 198.18.0.1/24 dev wan2\nlink set wan2 up",
        colons(WAN2_LINK)
    ))?;
    bed.far.ip("addr add 198.18.0.10/24 dev eth1\nlink set eth1 up")
}

/// The Ethernet address of that device.
pub const WAN2_LINK: Link = [2, 0, 198, 18, 0, 1];
