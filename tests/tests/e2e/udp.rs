//! UDP: streams, DNS, checksums that are not there.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use lab::ends::reflector::{Reflector, without_checksum};
use lab::ends::tools::iperf3;
use lab::{Capture, Options, SERVER, ends::dns};

use super::twin::{Setup, gateway, twin};

#[test]
fn iperf3_without_loss() -> Result<()> {
    let lost = twin(&Setup::default(), |lab, _| {
        let up = iperf3(&lab.vm1, (&lab.out, SERVER), "-u -b 20M -l 1200 -w 1M -t 2")?;
        let down = iperf3(&lab.vm1, (&lab.out, SERVER), "-u -b 20M -l 1200 -w 1M -t 2 -R")?;
        Ok((up.lost, up.packets > 3000, down.lost, down.packets > 3000))
    })?;
    assert_eq!(lost, (0, true, 0, true));
    Ok(())
}

#[test]
fn datagrams_of_every_size() -> Result<()> {
    let offloads =
        |offloads| Setup { options: Options { offloads, ..Options::default() }, ..Setup::default() };
    for setup in [offloads(true), offloads(false), Setup::completing_checksums()] {
        let seen = twin(&setup, |lab, _| {
            let server = Reflector::start(&lab.out, (SERVER, 9000))?;
            let socket = lab.vm1.udp("10.0.0.11:5000")?;
            // The answer is longer by the address, and has to fit as well.
            let sizes = (1..64).chain([127, 128, 1400, 1450]);
            sizes.map(|size| server.ask(&socket, &"x".repeat(size))).collect::<Result<BTreeSet<_>>>()
        })?;
        assert_eq!(seen, BTreeSet::from([gateway(5000)]));
    }
    Ok(())
}

#[test]
fn zero_checksum_stays_zero_both_ways() -> Result<()> {
    let seen = twin(&Setup::default(), |lab, _| {
        let outside = Capture::start(&lab.out, "eth0", "udp dst port 9000 and udp[6:2] = 0")?;
        let inside = Capture::start(&lab.vm1, "eth0", "udp src port 9000 and udp[6:2] = 0")?;
        let socket = lab.vm1.udp("10.0.0.11:5000")?;
        let server_socket = lab.out.udp((SERVER, 9000))?;
        without_checksum(&socket)?;
        without_checksum(&server_socket)?;
        let server = Reflector::serve(server_socket)?;
        let seen = server.ask(&socket, "no checksum")?;
        Ok((seen, outside.stop()?.len(), inside.stop()?.len()))
    })?;
    assert_eq!(seen, (gateway(5000), 1, 1));
    Ok(())
}

#[test]
fn dns() -> Result<()> {
    let answer = Ipv4Addr::new(198, 51, 100, 7);
    let answers = twin(&Setup::default(), |lab, _| {
        let _server = dns::serve(&lab.out, SERVER, "lab.test", answer)?;
        let one = dns::query(&lab.vm1.udp("10.0.0.11:0")?, SERVER, "lab.test")?;
        let two = dns::query(&lab.vm2.udp("10.0.0.12:0")?, SERVER, "www.lab.test")?;
        Ok((one, two))
    })?;
    assert_eq!(answers, (answer, answer));
    Ok(())
}

/// Only who was asked may answer (address- and port-dependent filtering).
#[test]
fn a_stranger_is_not_let_in() -> Result<()> {
    let heard = twin(&Setup::default(), |lab, _| {
        let server = Reflector::start(&lab.out, (SERVER, 9000))?;
        let socket = lab.vm1.udp("10.0.0.11:5000")?;
        let seen = server.ask(&socket, "hello")?;
        lab.out.udp((SERVER, 9001))?.send_to(b"from another port", seen)?;
        lab.out.udp((lab::SERVER2, 9000))?.send_to(b"from another address", seen)?;
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
        let heard = socket.recv_from(&mut [0; 64]).is_ok();
        Ok((heard, server.ask(&socket, "still there?")? == seen))
    })?;
    assert_eq!(heard, (false, true));
    Ok(())
}
