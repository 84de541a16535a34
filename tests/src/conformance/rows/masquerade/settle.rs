//! What a server sees once a change has come through.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Instant;

use crate::conformance::prelude::*;

/// Asks until `wanted` is whom the server sees, for a second at most; returns whom it saw last. A question that is lost
/// while things change is asked again soon.
pub fn settles_at(server: &Reflector, socket: &UdpSocket, wanted: SocketAddr) -> Result<Option<SocketAddr>> {
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let end = Instant::now() + Duration::from_secs(1);
    let mut last = None;
    while last != Some(wanted) && Instant::now() < end {
        last = server.try_ask(socket, "hello")?.or(last);
        thread::sleep(Duration::from_millis(10));
    }
    Ok(last)
}
