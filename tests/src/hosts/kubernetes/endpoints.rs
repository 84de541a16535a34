//! An endpoint goes and comes back while it is in use: connections that it has go on, new ones come to the other, and a
//! client that asks by UDP from the same port again and again is led to the other, too.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::node::{Kubernetes, MANY, WEB};
use super::{proxy, service};
use crate::hosts::connection::Connection;
use crate::process::wait::wait_until;

/// Requests by which a flow is repeated.
const RUNNING: u32 = 50;
/// For so many flows one is sought that comes to the second endpoint.
const ATTEMPTS: u32 = 40;
const SECOND: Duration = Duration::from_secs(1);

pub fn one_goes_and_comes_back(node: &Kubernetes) -> Result<()> {
    let mut connection = connection_to_second(node)?;
    let asker = Asker::of_second(node)?;
    proxy::write_without_second_endpoint(&node.network, WEB[1])?;
    let seen = with_one(node, &mut connection, &asker);
    proxy::write(&node.network)?;
    seen?;
    connection.ask().context("the connection ended when the endpoint came back")?;
    node.both_are_reached(&node.cli, service::WEB)
}

fn with_one(node: &Kubernetes, connection: &mut Connection, asker: &Asker<'_>) -> Result<()> {
    wait_until("UDP is led to the other endpoint", SECOND, || asker.comes_to(0))?;
    ensure!(!asker.comes_to(1)?, "UDP still comes to the endpoint that is gone");
    let [one, other] = node.balance(&node.cli, service::WEB)?;
    ensure!((one, other) == (MANY as usize, 0), "{other} new connections came to the endpoint that is gone");
    for _ in 0..RUNNING {
        connection.ask().context("a connection that ran has ended")?;
    }
    Ok(())
}

fn connection_to_second(node: &Kubernetes) -> Result<Connection> {
    for _ in 0..ATTEMPTS {
        let before = node.connections()[1];
        let mut connection = Connection::open(&node.cli, service::WEB)?;
        if node.connections()[1] > before {
            for _ in 0..RUNNING {
                connection.ask()?;
            }
            return Ok(connection);
        }
    }
    bail!("no connection comes to the second endpoint")
}

/// A client that asks from one port.
struct Asker<'a> {
    socket: UdpSocket,
    node: &'a Kubernetes,
}

impl<'a> Asker<'a> {
    fn of_second(node: &'a Kubernetes) -> Result<Self> {
        for _ in 0..ATTEMPTS {
            let socket = node.cli.udp("0.0.0.0:0")?;
            socket.connect(service::DNS)?;
            socket.set_read_timeout(Some(SECOND / 5))?;
            let asker = Self { socket, node };
            if asker.comes_to(1)? {
                for _ in 0..RUNNING {
                    ensure!(asker.comes_to(1)?, "a datagram came to another endpoint than those before it");
                }
                return Ok(asker);
            }
        }
        bail!("no datagram comes to the second endpoint")
    }

    /// Whether a question comes to this endpoint and is answered.
    fn comes_to(&self, endpoint: usize) -> Result<bool> {
        let received = || self.node.web[endpoint].dns.received();
        let before = received();
        // An error may tell of the question before.
        let answered = self.socket.send(b"who").is_ok() && self.socket.recv(&mut [0; 64]).is_ok();
        Ok(answered && received() > before)
    }
}
