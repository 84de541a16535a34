//! Packets that are not passed on.

use anyhow::Result;

use super::examination::names;

#[test]
fn forwarding_is_off() -> Result<()> {
    names("forwarding-off", "net.ipv4.ip_forward", |lab| lab.gw.sysctl("net.ipv4.ip_forward", "0"))
}

#[test]
fn forwarding_is_off_for_one_device() -> Result<()> {
    names("forwarding-off-device", "br0", |lab| lab.gw.sysctl("net.ipv4.conf.br0.forwarding", "0"))
}

/// Two ways out, and answers that come by the second one.
#[test]
fn the_reverse_path_is_strict() -> Result<()> {
    names("rp-filter-strict", "wan2", |lab| {
        lab.gw.ip("link add wan2 type veth peer name eth1 netns out\nlink set wan2 up\n\
             addr add 198.51.100.1/24 dev wan2\nroute add default via 203.0.113.10 metric 10\n\
             route add default via 198.51.100.10 metric 20")?;
        lab.out.ip("link set eth1 up\naddr add 198.51.100.10/24 dev eth1")?;
        lab.gw.wait_for_carriers()?;
        lab.gw.cmd("iptables").args("-t nat -A POSTROUTING -o wan2 -j MASQUERADE".split(' ')).run()?;
        lab.gw.sysctl("net.ipv4.conf.wan2.rp_filter", "1")
    })
}
