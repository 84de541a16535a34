//! TCP: bulk both ways with and without offloads, and the addresses that the server saw.

use anyhow::Result;
use lab::ends::http::Server;
use lab::ends::tools::{download, fetch, iperf3, upload};
use lab::{GATEWAY, Lab, Options, SERVER};

use super::twin::{Setup, gateway, twin};

const MEGABYTE: u64 = 1_000_000;

fn without_offloads() -> Setup {
    Setup { options: Options { offloads: false, ..Options::default() }, ..Setup::default() }
}

/// 100 MB down and 30 MB up, every byte compared; what was moved, and whether only the gateway was seen.
fn transfers(lab: &Lab) -> Result<(u64, u64, bool)> {
    let server = Server::start(&lab.out, (SERVER, 80))?;
    let down = download(&lab.vm1, &server.url("/bytes/100000000")?, &[])?;
    let up = upload(&lab.vm2, &server.url("/")?, 30 * MEGABYTE)?;
    Ok((down.bytes, up.bytes, server.peers().iter().all(|peer| peer.ip() == GATEWAY)))
}

#[test]
fn transfers_with_offloads() -> Result<()> {
    let moved = twin(&Setup::default(), |lab, _| transfers(lab))?;
    assert_eq!(moved, (100 * MEGABYTE, 30 * MEGABYTE, true));
    Ok(())
}

#[test]
fn transfers_without_offloads() -> Result<()> {
    let moved = twin(&without_offloads(), |lab, _| transfers(lab))?;
    assert_eq!(moved, (100 * MEGABYTE, 30 * MEGABYTE, true));
    Ok(())
}

#[test]
fn transfers_with_checksums_completed_in_the_gateway() -> Result<()> {
    let moved = twin(&Setup::completing_checksums(), |lab, _| transfers(lab))?;
    assert_eq!(moved, (100 * MEGABYTE, 30 * MEGABYTE, true));
    Ok(())
}

/// The same with a port that has to change.
#[test]
fn another_port_with_checksums_completed_in_the_gateway() -> Result<()> {
    let differ = twin(&Setup::completing_checksums(), |lab, _| {
        let server = Server::start(&lab.out, (SERVER, 80))?;
        let options = ["--local-port", "40000"];
        let first = download(&lab.vm1, &server.url("/bytes/10000000")?, &options)?;
        let second = download(&lab.vm2, &server.url("/bytes/10000000")?, &options)?;
        let ports: std::collections::BTreeSet<u16> =
            server.peers().iter().map(std::net::SocketAddr::port).collect();
        Ok((first.bytes, second.bytes, ports.len()))
    })?;
    assert_eq!(differ, (10 * MEGABYTE, 10 * MEGABYTE, 2));
    Ok(())
}

/// Both directions at full speed; a stream that stalls moves less than the bound.
fn streams(lab: &Lab) -> Result<(bool, bool)> {
    let up = iperf3(&lab.vm1, (&lab.out, SERVER), "-t 2")?;
    let down = iperf3(&lab.vm1, (&lab.out, SERVER), "-t 2 -R")?;
    println!("up {:.2} Gbit/s, down {:.2} Gbit/s", up.bits_per_second / 1e9, down.bits_per_second / 1e9);
    Ok((up.bits_per_second > 1e8, down.bits_per_second > 1e8))
}

#[test]
fn iperf3_with_offloads() -> Result<()> {
    assert_eq!(twin(&Setup::default(), |lab, _| streams(lab))?, (true, true));
    Ok(())
}

#[test]
fn iperf3_without_offloads() -> Result<()> {
    assert_eq!(twin(&without_offloads(), |lab, _| streams(lab))?, (true, true));
    Ok(())
}

/// The first connection is in TIME_WAIT when the second comes, and still owns its port.
#[test]
fn same_port_from_two_instances() -> Result<()> {
    let (first, kept) = twin(&Setup::default(), |lab, _| {
        let server = Server::start(&lab.out, (SERVER, 80))?;
        let options = ["--local-port", "40000"];
        let first = fetch(&lab.vm1, &server.url("/peer")?, &options)?;
        let second = fetch(&lab.vm2, &server.url("/peer")?, &options)?;
        Ok((first.clone(), first == second))
    })?;
    assert_eq!((first, kept), (gateway(40000).to_string(), false));
    Ok(())
}

#[test]
fn a_closed_port_refuses_at_once() -> Result<()> {
    let status = twin(&Setup::default(), |lab, _| {
        let curl = lab.vm1.cmd("curl").args(["-q", "-sS", "--noproxy", "*", "--max-time", "5"]);
        Ok(curl.arg(format!("http://{SERVER}:81/")).output()?.status.code())
    })?;
    // CURLE_COULDNT_CONNECT; 28 would be its time limit.
    assert_eq!(status, Some(7));
    Ok(())
}

/// Many short connections, as a browser makes them.
#[test]
fn two_hundred_connections() -> Result<()> {
    let seen = twin(&Setup::default(), |lab, _| {
        let server = Server::start(&lab.out, (SERVER, 80))?;
        // A range in the URL makes curl ask for each; the header keeps it from using a connection twice.
        let each = ["-Z", "--parallel-max", "20", "-H", "Connection: close"];
        fetch(&lab.vm1, &server.url("/peer?[1-200]")?, &each)?;
        let peers = server.peers();
        Ok((peers.len(), peers.iter().all(|peer| peer.ip() == GATEWAY)))
    })?;
    assert_eq!(seen, (200, true));
    Ok(())
}
