//! One datagram after the other on the way of a stream, each of which is missed if it does not arrive.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::streams::{Client, IPERF, Stream};
use crate::process::wait::wait_until;

/// How long one may be on its way, on an emulated processor as well.
const TRAVEL: Duration = Duration::from_millis(200);
/// Until neighbours are found and a switch has its flows.
const BEGIN: Duration = Duration::from_secs(5);
/// So many make a running flow.
pub const SOME: u8 = 20;
/// No payload is longer. What is longer than any packet before it is not repeated.
const LONGEST: usize = 32;

/// Of one flow.
#[derive(Debug)]
pub struct Datagrams {
    sender: UdpSocket,
    sink: UdpSocket,
}

impl Datagrams {
    /// From the client of a stream to its server. `None` where the client is a machine with a shell only.
    pub fn of(stream: &Stream<'_>) -> Result<Option<Self>> {
        let Client::Namespace(client) = stream.client else { return Ok(None) };
        let sink = stream.server.udp((Ipv4Addr::UNSPECIFIED, IPERF))?;
        sink.set_read_timeout(Some(TRAVEL))?;
        let sender = client.udp((Ipv4Addr::UNSPECIFIED, 0))?;
        sender.connect((stream.address, stream.port))?;
        Ok(Some(Self { sender, sink }))
    }

    /// Whether one with this payload arrives.
    pub fn arrives(&self, payload: &[u8]) -> Result<bool> {
        // A socket says with the next datagram that somebody has refused the last one.
        if let Err(error) = self.sender.send(payload) {
            ensure!(error.kind() == ErrorKind::ConnectionRefused, error);
            self.sender.send(payload)?;
        }
        let mut buffer = [0; LONGEST];
        // One that was given up may come late.
        while let Ok(length) = self.sink.recv(&mut buffer) {
            if &buffer[..length] == payload {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A flow that runs: once one has arrived, all of [`SOME`] do.
    pub fn run(&self) -> Result<()> {
        wait_until("a datagram arrives", BEGIN, || self.arrives(b"first"))?;
        for number in 0..SOME {
            ensure!(self.arrives(&[number; LONGEST])?, "datagram {number} did not arrive");
        }
        Ok(())
    }
}
