//! Rules about the router itself.

use anyhow::{Result, ensure};

use super::examination::{Examination, healthy, iptables, names};

#[test]
fn the_router_may_not_say_what_fits() -> Result<()> {
    names("icmp-errors-dropped", ":OUTPUT DROP", |lab| iptables(lab, "-P OUTPUT DROP"))
}

/// A name server at all addresses may be there for the router alone.
#[test]
fn servers_may_not_be_asked() -> Result<()> {
    let lab = healthy()?;
    iptables(&lab, "-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n-A INPUT -p icmp -j ACCEPT")?;
    let _other = lab.gw.udp("0.0.0.0:53")?;
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()
}

#[test]
fn the_dhcp_server_may_not_be_asked() -> Result<()> {
    let lab = healthy()?;
    let _server = lab.gw.udp("0.0.0.0:67")?;
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()?;
    iptables(&lab, "-P INPUT DROP\n-A INPUT -p udp --dport 53 -j ACCEPT")?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("dhcp-dropped", ":INPUT DROP")
}

#[test]
fn the_name_server_may_not_be_asked() -> Result<()> {
    let lab = healthy()?;
    let server = lab.gw.udp("10.0.0.1:53")?;
    let asked = || -> Result<bool> {
        lab.vm1.udp("0.0.0.0:0")?.send_to(b"?", "10.0.0.1:53")?;
        Ok(server.recv(&mut [0; 8]).is_ok())
    };
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()?;
    ensure!(asked()?, "the lab is not healthy");
    let rule = "-A INPUT -i br0 -p udp -m udp --dport 53 -j DROP";
    iptables(&lab, rule)?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("dns-dropped", rule)?;
    ensure!(!asked()?, "a question arrives all the same");
    Ok(())
}
