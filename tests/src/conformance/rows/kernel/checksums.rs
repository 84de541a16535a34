//! Checksums that are left to a device.

use crate::conformance::prelude::*;
use crate::ends::tools::iperf3;
use crate::netns::counters::csum_errors;

pub fn partial_checksums_come_out_right(bed: &Bed) -> Result<Outcome> {
    // The hosts leave checksums to their devices, those of the gateway cannot do them: packets come with partial
    // checksums and are completed behind the translation, so that the other end sees each mistake.
    for device in ["wan", "port1", "port2"] {
        bed.gw.cmd("ethtool").args(["-K", device, "tx", "off"]).run()?;
    }
    let _nat = bed.translate(&Setup::default())?;
    for direction in ["", "-R"] {
        iperf3(&bed.in1, (&bed.out1, OUT1), &format!("-n 20M {direction}"))?;
        iperf3(&bed.in1, (&bed.out1, OUT1), &format!("-u -b 50M -n 2M {direction}"))?;
    }
    for host in [&bed.in1, &bed.out1] {
        let errors = csum_errors(host)?;
        expect!(errors == 0, "{errors} packets with a wrong checksum arrive at {}", host.name());
    }
    Ok(Meets)
}
