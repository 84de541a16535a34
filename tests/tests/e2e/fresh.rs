//! Whether new flows get through.

use std::net::{Ipv4Addr, UdpSocket};
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::Namespace;
use lab::ends::reflector::Reflector;

/// Each is asked so many times: a datagram may be lost in a crowd.
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_millis(300);

/// A flow from each of these ports is answered.
///
/// # Errors
/// When some are not; the text says how many are.
pub fn answered(server: &Reflector, ns: &Namespace, address: Ipv4Addr, ports: Range<u16>) -> Result<()> {
    let total = ports.len();
    let mut open = ports.map(|port| ns.udp((address, port))).collect::<Result<Vec<_>>>()?;
    for _ in 0..ROUNDS {
        for socket in &open {
            // An error is that of an earlier datagram.
            let _ = socket.send_to(b"new", server.address());
        }
        let end = Instant::now() + PATIENCE;
        open.retain(|socket| !is_answered(socket, server, end));
    }
    ensure!(open.is_empty(), "of {total} new flows from {address} {} are answered", total - open.len());
    Ok(())
}

fn is_answered(socket: &UdpSocket, server: &Reflector, end: Instant) -> bool {
    let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let patient = socket.set_read_timeout(Some(left)).is_ok();
    patient && socket.recv_from(&mut [0; 64]).is_ok_and(|(_, from)| from == server.address())
}
