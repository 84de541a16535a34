//! ICMP queries and errors.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::ends::raw::RawSocket;
use lab::ends::tools::ping;
use lab::object::Packet;
use lab::{GATEWAY, Lab, SERVER, VM1};

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
        let (one, two) = lab::ends::tools::together(
            || ping(&lab.vm1, SERVER, "-c 20 -e 4711"),
            || {
                // Where two flows begin in the same moment, iptables may lose one's first packet (row X09).
                thread::sleep(Duration::from_millis(200));
                ping(&lab.vm2, SERVER, "-c 20 -e 4711")
            },
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

/// Errors quote as much as fits into a packet, and the checksum is over all of it.
#[test]
fn errors_as_long_as_jumbo_frames() -> Result<()> {
    const LENGTHS: [usize; 7] = [0, 1, 483, 484, 1400, 4061, 8900];
    let prepare: fn(&Lab) -> Result<()> = |lab| {
        for (ns, device) in
            [(&lab.gw, "wan"), (&lab.out, "eth0"), (&lab.gw, "port1"), (&lab.vm1, "eth0"), (&lab.gw, "br0")]
        {
            ns.ip(&format!("link set {device} mtu 9000"))?;
        }
        Ok(())
    };
    let arrived = twin(&Setup { prepare, ..Setup::default() }, |lab, _| {
        let socket = lab.vm1.udp((VM1, 5000))?;
        socket.send_to(b"begins the flow", (SERVER, 9000))?;
        let router = RawSocket::protocol(&lab.out, PROTOCOL)?;
        let instance = RawSocket::protocol(&lab.vm1, PROTOCOL)?;
        let mut arrived = Vec::new();
        for length in LENGTHS {
            let quoted = |source| {
                Packet::udp((source, 5000), (SERVER, 9000)).payload(vec![length as u8; length]).ip_bytes()
            };
            // From the ICMP header on.
            let error = |to, source| {
                Packet::icmp_error(SERVER, to, 3, 1, 0, &quoted(source)).ip_bytes()[20..].to_vec()
            };
            router.send(&error(GATEWAY, GATEWAY), GATEWAY)?;
            let got = loop {
                let got = instance.receive()?.with_context(|| format!("no error with {length} bytes"))?;
                // Nothing listens at the server's port: it says so, too.
                if got.payload[1] != 3 {
                    break got;
                }
            };
            arrived.push(got.payload == error(VM1, VM1));
        }
        Ok(arrived)
    })?;
    assert_eq!(arrived, [true; LENGTHS.len()]);
    Ok(())
}

/// RFC 1071, over an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}
