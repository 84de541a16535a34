//! Instances that get no address.

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::ends::tools::ping;
use lab::process::{Process, Stream};
use lab::wire::Wire;
use lab::{Lab, Namespace, SERVER};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::examination::{Examination, healthy, names};

/// Starts dnsmasq as a DHCP server alone.
pub fn dnsmasq(ns: &Namespace, options: &str) -> Result<Process> {
    let fixed = "--keep-in-foreground --conf-file=/dev/null --port=0 --bind-interfaces --user=root --pid-file= \
                 --log-facility=-";
    let leases = if options.contains("leasefile") { "" } else { "--dhcp-leasefile=/dev/null" };
    let words = [fixed, options, leases].join(" ");
    let server = ns.cmd("dnsmasq").args(words.split_whitespace()).spawn()?;
    server.wait_for(Stream::Stderr, Duration::from_secs(10), |line| line.contains("DHCP, IP range"))?;
    Ok(server)
}

/// The instance loses its address, and a client waits for another one.
fn asks(lab: &Lab) -> Result<UdpSocket> {
    lab.vm1.ip("addr flush dev eth0")?;
    lab.vm1.udp(("0.0.0.0", 68))
}

/// A lab whose instance asks, and whose gateway has a server with these options.
fn served(options: &str) -> Result<(Lab, UdpSocket, Process)> {
    let lab = healthy()?;
    lab.gw.ip("link add br1 type bridge\naddr add 10.9.0.1/24 dev br1\nlink set br1 up")?;
    let (client, server) = (asks(&lab)?, dnsmasq(&lab.gw, options)?);
    Ok((lab, client, server))
}

#[test]
fn the_instance_has_no_address() -> Result<()> {
    names("instance-no-address", "eth0", |lab| {
        lab.vm1.ip("addr flush dev eth0")?;
        let answered = ping(&lab.vm1, SERVER, "-c 1").is_ok_and(|ping| ping.received > 0);
        ensure!(!answered, "it reaches the outside without an address");
        Ok(())
    })
}

#[test]
fn no_server_is_there() -> Result<()> {
    let lab = healthy()?;
    let _client = asks(&lab)?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("dhcp-no-server", "10.0.0.0/24")
}

/// systemd-networkd and NetworkManager have the port only when they have an address.
#[test]
fn who_asks_by_a_packet_socket_is_heard() -> Result<()> {
    let lab = healthy()?;
    lab.vm1.ip("addr flush dev eth0")?;
    let cli = lab.natbpf_cli()?;
    let client = lab.vm1.enter(|| Wire::here("eth0"))??;
    Examination::of(&cli)?.is_alone("dhcp-no-server", "10.0.0.0/24")?;
    drop(client);
    Examination::of(&cli)?.is_alone("instance-no-address", "eth0")
}

#[test]
fn the_server_is_on_another_bridge() -> Result<()> {
    let (lab, ..) = &served("--interface=br1 --dhcp-range=10.9.0.10,10.9.0.20")?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("dhcp-server-elsewhere", "br0")
}

#[test]
fn the_range_is_of_another_network() -> Result<()> {
    let (lab, ..) = &served("--interface=br0 --dhcp-range=10.9.0.10,10.9.0.20,255.255.255.0")?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("dhcp-range-elsewhere", "10.9.0.10")
}

/// Whoever asks will be answered.
#[test]
fn a_server_that_fits_is_no_cause() -> Result<()> {
    let (lab, ..) = &served("--interface=br0 --dhcp-range=10.0.0.100,10.0.0.120")?;
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()
}

#[test]
fn the_gateway_that_is_told_is_nobody() -> Result<()> {
    let lab = healthy()?;
    let _server = dnsmasq(
        &lab.gw,
        "--interface=br0 --dhcp-range=10.0.0.100,10.0.0.120 --dhcp-option=option:router,10.0.0.254",
    )?;
    lab.vm2.ip("route replace default via 10.0.0.254")?;
    ensure!(ping(&lab.vm2, SERVER, "-c 1")?.received == 0);
    lab.vm2.ip("route replace default via 10.0.0.1")?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("dhcp-gateway-nobody", "10.0.0.254")
}

#[test]
fn no_lease_is_left() -> Result<()> {
    let lab = healthy()?;
    let leases = tempfile::NamedTempFile::new()?;
    let lines = ["11", "12"].map(|last| format!("0 02:00:00:00:01:{last} 10.0.0.1{last} * *\n"));
    fs::write(&leases, lines.concat())?;
    let range = "--interface=br0 --dhcp-range=10.0.0.111,10.0.0.112,infinite";
    let _server = dnsmasq(&lab.gw, &format!("{range} --dhcp-leasefile={}", leases.path().display()))?;
    Examination::of(&lab.natbpf_cli()?)?.is_alone("dhcp-leases-used-up", "10.0.0.111,10.0.0.112")
}

#[test]
fn two_servers_are_there() -> Result<()> {
    let lab = healthy()?;
    let _first = dnsmasq(&lab.gw, "--interface=br0 --dhcp-range=10.0.0.100,10.0.0.120")?;
    let _second = dnsmasq(&lab.vm2, "--interface=eth0 --dhcp-range=10.0.0.130,10.0.0.140")?;
    Examination::of(&lab.natbpf_cli()?)?.notes("dhcp-two-servers", "10.0.0.0/24")
}

/// Whoever may start a program may give it any name and any words.
#[test]
fn a_program_that_only_says_that_it_is_a_server_holds_up_nobody() -> Result<()> {
    let lab = healthy()?;
    let (reader, _writer) = io::pipe()?;
    let fifo = tempfile::tempdir()?;
    let fifo = fifo.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU)?;
    let _programs = ["/dev/zero", &fifo.display().to_string()]
        .into_iter()
        .map(|file| {
            let waiting = lab.vm1.cmd("sh").stdin(Stdio::from(reader.try_clone()?));
            let mut waiting = waiting.args(["-c", "read line", "-C", file]);
            waiting.as_command().arg0("dnsmasq");
            waiting.spawn()
        })
        .collect::<Result<Vec<_>>>()?;
    Examination::of(&lab.natbpf_cli()?)?.is_healthy()
}
