//! dnsmasq for names or for addresses, and a question for it.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::netns::Namespace;
use crate::process::{Process, Stream};

/// Starts dnsmasq on `address`, which knows `name` and nothing else.
pub fn serve(ns: &Namespace, address: Ipv4Addr, name: &str, answer: Ipv4Addr) -> Result<Process> {
    start(ns, [format!("--listen-address={address}"), format!("--address=/{name}/{answer}")])
}

/// Starts dnsmasq on `device`, which leases the one address of a /24 network to whoever asks.
pub fn lease(ns: &Namespace, device: &str, address: Ipv4Addr) -> Result<Process> {
    let device = format!("--interface={device}");
    let range = format!("--dhcp-range={address},{address},255.255.255.0");
    // Whether somebody has the address already is not looked for, which takes three seconds; no file is kept.
    start(ns, ["--port=0", "--no-ping", "--leasefile-ro", &device, &range])
}

fn start<S: AsRef<OsStr>>(ns: &Namespace, options: impl IntoIterator<Item = S>) -> Result<Process> {
    let server = ns
        .cmd("dnsmasq")
        .args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
        ])
        .args(["--user=root", "--pid-file=", "--log-facility=-"])
        .args(options)
        .spawn()?;
    server.wait_for(Stream::Stderr, Duration::from_secs(10), |line| line.contains("started"))?;
    Ok(server)
}

/// Asks `server` for the first A record of `name`.
pub fn query(socket: &UdpSocket, server: Ipv4Addr, name: &str) -> Result<Ipv4Addr> {
    const ID: [u8; 2] = [0x4e, 0x42];
    const HEADER: usize = 12;
    let mut packet = Vec::from(ID);
    // Recursion desired; one question.
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).context("a label of 255 bytes at most")?);
        packet.extend(label.as_bytes());
    }
    // End of the name; type A, class IN.
    packet.extend([0, 0, 1, 0, 1]);
    let server = SocketAddr::from((server, 53));
    socket.send_to(&packet, server)?;

    let mut answer = [0; 512];
    let (length, from) = socket.recv_from(&mut answer).context("no answer from the name server")?;
    let answer = &answer[..length];
    ensure!(from == server, "an answer from {from} instead of {server}");
    ensure!(answer.starts_with(&ID) && answer.len() >= HEADER, "an answer to another question: {answer:?}");
    let records = u16::from_be_bytes([answer[6], answer[7]]);
    ensure!(answer[3] & 0xf == 0 && records == 1, "the name server does not know {name}: {answer:?}");
    // One A record: its address ends the packet.
    let address = answer.last_chunk::<4>().context("an answer without an address")?;
    Ok(Ipv4Addr::from(*address))
}
