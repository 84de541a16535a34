//! traceroute through the gateway.

use crate::conformance::prelude::*;

/// The addresses that answer a traceroute with `options` from `in1` to `far`, hop by hop.
pub fn hops(bed: &Bed, options: &str) -> Result<Vec<String>> {
    // Many errors in a moment to one address.
    for router in [&bed.gw, &*bed.r2, &*bed.far] {
        router.sysctl("net.ipv4.icmp_ratelimit", "0")?;
    }
    let traceroute = bed.in1.cmd("traceroute").args(["-n", "-q", "1", "-w", "1", "-m", "4"]);
    let text = traceroute.args(options.split_whitespace()).arg(FAR.to_string()).output_text()?;
    let answered = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1));
    Ok(answered.map(str::to_owned).collect())
}

/// A translator is at work already.
pub fn shows_every_hop(bed: &Bed) -> Result<Outcome> {
    // By UDP, by ICMP and by TCP.
    for options in ["-U", "-I", "-T -p 80"] {
        let hops = hops(bed, options)?;
        let expected = [GW_INSIDE, R2, FAR].map(|address| address.to_string());
        expect!(hops == expected, "the hops of traceroute {options} are {}", hops.join(", "));
    }
    Ok(Meets)
}
