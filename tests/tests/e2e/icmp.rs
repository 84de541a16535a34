//! ICMP queries and errors.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::raw::RawSocket;
use lab::tools::ping;
use lab::{GATEWAY, SERVER};

use super::twin::{Setup, twin};

const PROTOCOL: u8 = 1;
const TIMESTAMP: u8 = 13;
const TIMESTAMP_REPLY: u8 = 14;

#[test]
fn ping_loses_nothing() -> Result<()> {
    let received = twin(&Setup::default(), |lab, _| Ok(ping(&lab.vm1, SERVER, "-c 10")?.received))?;
    assert_eq!(received, 10);
    Ok(())
}

#[test]
fn ping_of_every_size() -> Result<()> {
    let received = twin(&Setup::default(), |lab, _| {
        let sizes = ["-s 0", "-s 1", "-s 17", "-s 1472"];
        sizes
            .iter()
            .map(|size| Ok(ping(&lab.vm1, SERVER, &format!("-c 2 {size}"))?.received))
            .collect::<Result<Vec<_>>>()
    })?;
    assert_eq!(received, [2; 4]);
    Ok(())
}

/// Record route and timestamps make the IPv4 header 60 and 56 bytes long, so ICMP is not where it usually is.
#[test]
fn ping_with_ip_options() -> Result<()> {
    let received = twin(&Setup::default(), |lab, _| {
        let options = ["-c 3 -R", "-c 3 -T tsonly", "-c 3 -T tsandaddr"];
        options
            .iter()
            .map(|options| Ok(ping(&lab.vm1, SERVER, options)?.received))
            .collect::<Result<Vec<_>>>()
    })?;
    assert_eq!(received, [3; 3]);
    Ok(())
}

#[test]
fn same_identifier_from_two_instances() -> Result<()> {
    let received = twin(&Setup::default(), |lab, _| {
        let (one, two) = lab::tools::together(
            || ping(&lab.vm1, SERVER, "-c 20 -e 4711"),
            || ping(&lab.vm2, SERVER, "-c 20 -e 4711"),
        );
        Ok((one?.received, two?.received))
    })?;
    assert_eq!(received, (20, 20));
    Ok(())
}

#[test]
fn timestamp_query_is_answered() -> Result<()> {
    let answered = twin(&Setup::default(), |lab, _| {
        let socket = RawSocket::protocol(&lab.vm1, PROTOCOL)?;
        let mut query = [0_u8; 20];
        query[0] = TIMESTAMP;
        query[4..8].copy_from_slice(&[0x12, 0x34, 0, 1]);
        let sum = checksum(&query);
        query[2..4].copy_from_slice(&sum.to_be_bytes());
        socket.send(&query, SERVER)?;
        let answer = socket.receive()?.context("no answer to the timestamp query")?;
        let identity = answer.payload[4..8].to_vec();
        Ok((answer.source, answer.payload[0], identity))
    })?;
    assert_eq!(answered, (SERVER, TIMESTAMP_REPLY, vec![0x12, 0x34, 0, 1]));
    Ok(())
}

/// The error about an instance's own packet comes back to it.
#[test]
#[ignore = "natbpf does not translate ICMP errors yet"]
fn port_unreachable_reaches_the_instance() -> Result<()> {
    let error = twin(&Setup::default(), |lab, _| {
        let socket = lab.vm1.udp("10.0.0.11:5000")?;
        lab.vm1.enter(|| socket.connect((SERVER, 9)))??;
        error_after_send(&socket)
    })?;
    assert_eq!(error, Some(ErrorKind::ConnectionRefused));
    Ok(())
}

/// The error that an instance sends carries the instance's address twice, outside and in the packet it quotes.
#[test]
#[ignore = "natbpf does not translate ICMP errors yet"]
fn port_unreachable_from_the_instance_reaches_the_server() -> Result<()> {
    let error = twin(&Setup::default(), |lab, _| {
        let socket = lab.vm1.udp("10.0.0.11:5000")?;
        let server = lab.out.udp((SERVER, 9000))?;
        socket.send_to(b"hello", (SERVER, 9000))?;
        let (_, client) = server.recv_from(&mut [0; 16])?;
        ensure!(client == (GATEWAY, 5000).into(), "the server saw {client}");
        drop(socket);
        lab.out.enter(|| server.connect(client))??;
        error_after_send(&server)
    })?;
    assert_eq!(error, Some(ErrorKind::ConnectionRefused));
    Ok(())
}

/// Errors of a router further on quote the translated packet; ping believes them only when they quote its own.
#[test]
#[ignore = "natbpf does not translate ICMP errors yet"]
fn errors_of_a_router_outside_reach_the_instance() -> Result<()> {
    let errors = twin(&Setup::default(), |lab, _| {
        lab.gw.ip("route add default via 203.0.113.10")?;
        lab.out.sysctl("net.ipv4.ip_forward", "1")?;
        lab.out.ip("link add far type veth peer name further\nlink set far up\nlink set further up\n\
                    route add 192.0.2.0/24 dev far mtu lock 1300")?;
        let ping = |options: &str| -> Result<String> {
            let cmd = lab.vm1.cmd("ping").args("-n -c 1 -W 2".split(' ')).args(options.split(' '));
            Ok(String::from_utf8(cmd.arg("192.0.2.1").output()?.stdout)?)
        };
        let too_big = ping("-M do -s 1400")?
            .contains("From 203.0.113.10 icmp_seq=1 Frag needed and DF set (mtu = 1300)");
        let too_far = ping("-t 2")?.contains("From 203.0.113.10 icmp_seq=1 Time to live exceeded");
        Ok((too_big, too_far))
    })?;
    assert_eq!(errors, (true, true));
    Ok(())
}

/// Sends, and returns what the connected socket then has to report.
fn error_after_send(socket: &UdpSocket) -> Result<Option<ErrorKind>> {
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.send(b"anybody there?")?;
    Ok(socket.recv(&mut [0; 16]).err().map(|error| error.kind()))
}

/// RFC 1071, over an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}
