//! What a station sees of a guest that moves.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;

use super::echo::Echo;
use super::machine::MAC;
use super::pulse::Pulse;
use crate::netns::Namespace;
use crate::wire::capture::Capture;

/// Somebody who watches.
#[derive(Debug)]
pub struct Watch {
    announcements: Capture,
    pulse: Pulse,
    echo: Echo,
}

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The longest time without an answer to ping.
    pub silence: Duration,
    /// The longest time without a byte of TCP.
    pub tcp_silence: Duration,
    /// Of TCP, each of which came back as it was sent.
    bytes: u64,
    /// RARP by which QEMU says where the guest is.
    pub announcements: usize,
}

impl Watch {
    /// Begins to send to the guest.
    pub fn start(station: &Namespace, guest: Ipv4Addr) -> Result<Self> {
        Ok(Self {
            announcements: Capture::start(station, "eth0", &format!("rarp and ether src {MAC}"))?,
            pulse: Pulse::start(station, guest)?,
            echo: Echo::start(station, guest)?,
        })
    }

    /// Ends it; the stream has to be whole.
    pub fn finish(self) -> Result<Seen> {
        let silence = self.pulse.finish()?;
        let echoed = self.echo.finish()?;
        Ok(Seen {
            silence,
            tcp_silence: echoed.silence,
            bytes: echoed.bytes,
            announcements: self.announcements.stop()?.len(),
        })
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no echo for {} ms, no byte of TCP for {} ms, {} bytes whole, {} announcements",
            self.silence.as_millis(),
            self.tcp_silence.as_millis(),
            self.bytes,
            self.announcements
        )
    }
}
