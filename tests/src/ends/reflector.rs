//! A UDP server that tells each client the address it saw, so that a test reads the translation from the
//! answer.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::netns::Namespace;

const RECEIVE_BUFFER: libc::c_int = 32 << 20;

/// A running server; ends when dropped. It answers `payload` with `address:port payload`.
#[derive(Debug)]
pub struct Reflector {
    address: SocketAddr,
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Reflector {
    /// `address` must name one address, not 0.0.0.0: answers have to come from where the question went.
    pub fn start(ns: &Namespace, address: impl ToSocketAddrs + Send) -> Result<Self> {
        Self::serve(ns.udp(address).context("cannot start the UDP server")?)
    }

    /// As [`Reflector::start`] on a socket that has options set.
    pub fn serve(socket: UdpSocket) -> Result<Self> {
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        set_option(&socket, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)?;
        let address = socket.local_addr()?;
        let (stop, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let server = thread::spawn({
            let (stop, received) = (stop.clone(), received.clone());
            move || reflect(&socket, &stop, &received)
        });
        Ok(Self { address, received, stop, server: Some(server) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many datagrams came.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Sends `payload` from `socket` and returns the source address the server saw.
    ///
    /// # Errors
    /// When no answer comes within the socket's read timeout, or one that is not to this question.
    pub fn ask(&self, socket: &UdpSocket, payload: &str) -> Result<SocketAddr> {
        let seen = self.try_ask(socket, payload)?;
        seen.with_context(|| format!("no answer from {} to {}", self.address, describe(socket)))
    }

    /// As [`Reflector::ask`], None when no answer comes.
    pub fn try_ask(&self, socket: &UdpSocket, payload: &str) -> Result<Option<SocketAddr>> {
        self.ask_past(socket, payload, |_| false)
    }

    /// As [`Reflector::try_ask`], past answers to what was asked before.
    fn ask_past(
        &self,
        socket: &UdpSocket,
        payload: &str,
        is_earlier: impl Fn(&str) -> bool,
    ) -> Result<Option<SocketAddr>> {
        if let Err(error) = socket.send_to(payload.as_bytes(), self.address) {
            // An ICMP error, perhaps to an earlier datagram, or no route just now: not answered either.
            return if error.kind() == io::ErrorKind::InvalidInput { Err(error.into()) } else { Ok(None) };
        }
        loop {
            let mut buffer = [0; 2048];
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { return Ok(None) };
            if from != self.address {
                bail!("{} got an answer from {from} instead of {}", describe(socket), self.address);
            }
            let answer = str::from_utf8(&buffer[..length])?;
            match answer.split_once(' ') {
                Some((seen, echo)) if echo == payload => return Ok(Some(seen.parse()?)),
                Some((_, echo)) if is_earlier(echo) => {}
                _ => bail!("{} asked {payload:?} and was answered {answer:?}", describe(socket)),
            }
        }
    }

    /// Asks again and again, each time for the socket's read timeout at most, until `wanted` is what the
    /// server saw.
    pub fn ask_until(&self, socket: &UdpSocket, limit: Duration, wanted: SocketAddr) -> Result<()> {
        let end = Instant::now() + limit;
        let mut last = None;
        for round in 0.. {
            // On a busy machine an answer may come when nobody waits for it any more.
            let is_earlier = |echo: &str| echo.starts_with("round ");
            last = self.ask_past(socket, &format!("round {round}"), is_earlier)?.or(last);
            if last == Some(wanted) {
                return Ok(());
            }
            if Instant::now() > end {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("after {limit:?} {} is still seen as {last:?}, not as {wanted}", describe(socket))
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

fn reflect(socket: &UdpSocket, stop: &AtomicBool, received: &AtomicU64) {
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        received.fetch_add(1, Ordering::Relaxed);
        let answer = [format!("{from} ").as_bytes(), &buffer[..length]].concat();
        // The client asks again if it has to.
        let _ = socket.send_to(&answer, from);
    }
}

fn describe(socket: &UdpSocket) -> String {
    socket.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string())
}

/// Sends without a UDP checksum, which IPv4 allows: the field is 0.
pub fn without_checksum(socket: &UdpSocket) -> Result<()> {
    set_option(socket, libc::SO_NO_CHECK, 1)
}

fn set_option(socket: &UdpSocket, option: libc::c_int, value: libc::c_int) -> Result<()> {
    let size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the option's value is an int, whose address and size are given.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), size)
    };
    if done < 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("cannot set socket option {option}"));
    }
    Ok(())
}
