//! What `natbpf why` says of packets that get through: that they arrive, and are answered.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::Result;

use super::host::Host;
use super::streams::{Client, IPERF, Stream};

/// The exit status of `why`: the packet arrives, or a cause was found why not.
const ARRIVES: i32 = 0;
const CAUSE: i32 = 1;

/// What it complains of, of streams that work.
///
/// # Errors
/// None of them is one of an instance of the host, so nothing was followed.
pub fn complaints(host: &dyn Host) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    let (mut followed, mut others) = (0, Vec::new());
    for stream in host.streams() {
        let Some((status, said)) = follow(host, &stream)? else { continue };
        match status {
            Some(ARRIVES) => followed += 1,
            Some(CAUSE) => complaints.push(format!("why: {}: {said}", stream.name)),
            // Who asks from outside is no instance.
            _ => others.push(format!("why: {}: {said}", stream.name)),
        }
    }
    if followed == 0 && !others.is_empty() {
        complaints.extend(others);
    }
    Ok(complaints)
}

/// Exit status and words; `None`: its client has no socket of ours.
fn follow(host: &dyn Host, stream: &Stream<'_>) -> Result<Option<(Option<i32>, String)>> {
    let Client::Namespace(client) = &stream.client else { return Ok(None) };
    // A port that refuses is a cause.
    let _listener = stream.server.tcp_listener((Ipv4Addr::UNSPECIFIED, IPERF))?;
    let source = client.enter(|| -> Result<_> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect((stream.address, stream.port))?;
        Ok(socket.local_addr()?.ip().to_string())
    })??;
    let (destination, port) = (stream.address.to_string(), stream.port.to_string());
    let arguments = ["why", "--from", &source, &destination, "--tcp", &port, "--send"];
    let output = host.natbpf_cli()?.output(arguments)?;
    let said = [output.stdout, output.stderr].concat();
    Ok(Some((output.status.code(), String::from_utf8_lossy(&said).into_owned())))
}
